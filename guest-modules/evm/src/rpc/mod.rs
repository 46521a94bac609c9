//! JSON-RPC methods, answered on a read-only view. What changes something is returned as an action for the host.

mod blocks;
mod bundles;
mod call;
mod controls;
pub mod error;
mod fees;
mod filters;
mod logs;
mod outcome;
mod params;
mod reason;
mod send;
mod simulate;
mod state;
mod trace;

use alloy_consensus::Header;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::B256;
use serde::Serialize;

use crate::{
    bindings::{
        exports::{Action, Answer, Occurrence, RpcError},
        subnode::chain::{host, state as tables, types::BlockRef},
    },
    headers, index,
    spec::Spec,
};
use params::Params;

/// What a method answers.
type Result<T = Answer> = core::result::Result<T, RpcError>;

/// What every method may need.
struct Call<'a> {
    head: &'a BlockRef,
    params: Params,
    method: &'a str,
}

pub fn query(head: &BlockRef, method: &str, params: &[u8]) -> Result {
    let call = &mut Call { head, params: Params::parse(params)?, method };
    match method {
        "eth_chainId" => json(&format!("{:#x}", Spec::load().chain_id)),
        "net_version" => json(&Spec::load().chain_id.to_string()),
        "net_listening" => json(&true),
        "net_peerCount" => json(&"0x0"),
        "web3_clientVersion" => json(&host::status().version),
        "web3_sha3" => {
            let data: alloy_primitives::Bytes = call.params.required()?;
            json(&alloy_primitives::keccak256(data))
        }
        "eth_syncing" | "eth_mining" => json(&false),
        "eth_protocolVersion" => json(&"0x44"),
        "eth_blockNumber" => json(&format!("{:#x}", head.height)),

        "eth_getBalance" => state::balance(call),
        "eth_getCode" => state::code(call),
        "eth_getStorageAt" => state::storage_at(call),
        "eth_getTransactionCount" => state::transaction_count(call),
        "eth_getProof" => state::proof(call),
        "eth_getAccount" => state::account(call),
        "eth_accounts" | "eth_requestAccounts" => state::accounts(),

        "eth_getBlockByNumber" | "eth_getBlockByHash" => blocks::block(call),
        "eth_getHeaderByNumber" | "eth_getHeaderByHash" => blocks::header(call),
        "eth_getBlockTransactionCountByNumber" | "eth_getBlockTransactionCountByHash" => blocks::transaction_count(call),
        "eth_getUncleCountByBlockNumber" | "eth_getUncleCountByBlockHash" => blocks::uncle_count(call),
        "eth_getUncleByBlockNumberAndIndex" | "eth_getUncleByBlockHashAndIndex" => json(&()),
        "eth_getTransactionByHash" => blocks::transaction_by_hash(call),
        "eth_getRawTransactionByHash" | "debug_getRawTransaction" => blocks::raw_transaction_by_hash(call),
        "eth_getTransactionByBlockNumberAndIndex" | "eth_getTransactionByBlockHashAndIndex" => blocks::transaction_by_index(call),
        "eth_getTransactionReceipt" => blocks::receipt(call),
        "eth_getBlockReceipts" => blocks::block_receipts(call),

        "eth_call" => call::call(call),
        "eth_callMany" => bundles::call_many(call),
        "eth_estimateGas" => call::estimate_gas(call),
        "eth_createAccessList" => call::create_access_list(call),

        "debug_getRawBlock" => blocks::raw_block(call),
        "debug_getRawHeader" => blocks::raw_header(call),
        "debug_getRawReceipts" => blocks::raw_receipts(call),

        "eth_simulateV1" => simulate::simulate(call),

        "debug_traceTransaction" => trace::geth::transaction(call),
        "debug_traceBlockByNumber" | "debug_traceBlockByHash" => trace::geth::block(call),
        "debug_traceBlock" => trace::geth::given_block(call),
        "debug_traceCall" => trace::geth::call(call),
        "trace_transaction" => trace::parity::transaction(call),
        "trace_get" => trace::parity::get(call),
        "trace_block" => trace::parity::block(call),
        "trace_filter" => trace::parity::filter(call),
        "trace_replayTransaction" => trace::parity::replay_transaction(call),
        "trace_replayBlockTransactions" => trace::parity::replay_block(call),
        "trace_call" => trace::parity::call(call),
        "trace_callMany" => trace::parity::call_many(call),
        "trace_rawTransaction" => trace::parity::raw_transaction(call),

        "eth_gasPrice" => fees::gas_price(call),
        "eth_maxPriorityFeePerGas" => fees::max_priority_fee(),
        "eth_feeHistory" => fees::history(call),
        "eth_blobBaseFee" => fees::blob_base_fee(call),
        "eth_baseFee" => fees::base_fee(call),

        "eth_getLogs" => logs::get_logs(call),
        "eth_newFilter" => filters::new_logs(call),
        "eth_newBlockFilter" => filters::new_blocks(call),
        "eth_newPendingTransactionFilter" => filters::new_transactions(call),
        "eth_getFilterChanges" => filters::changes(call),
        "eth_getFilterLogs" => filters::logs(call),
        "eth_uninstallFilter" => act(Action::CloseCursor(call.params.number()?)),
        "eth_subscribe" => filters::subscribe(call),
        "eth_unsubscribe" => act(Action::Unsubscribe(call.params.number()?)),

        "eth_sendRawTransaction" => {
            let raw: alloy_primitives::Bytes = call.params.required()?;
            act(Action::Submit(raw.into()))
        }
        "subnode_outcome" => outcome::outcome(call),
        "subnode_about" => {
            let (_, header) = headers::expect_header(head.height);
            json(&serde_json::json!({ "chainId": Spec::load().chain_id, "fork": Spec::load().fork(header.timestamp).name() }))
        }
        "eth_sendTransaction" | "eth_sendUnsignedTransaction" => send::send_transaction(call),
        "eth_signTransaction" => send::sign_transaction(call),
        "eth_fillTransaction" => send::fill_transaction(call),
        "eth_sign" | "personal_sign" => send::sign(call),
        "eth_signTypedData_v4" | "eth_signTypedData" => send::sign_typed_data(call),

        "txpool_status" => send::pool_status(),
        "txpool_content" => send::pool_content(call),
        "txpool_contentFrom" => send::pool_content_from(call),
        "txpool_inspect" => send::pool_inspect(call),

        _ => controls::control(call),
    }
}

/// An answer in JSON.
fn json<T: Serialize + ?Sized>(value: &T) -> Result {
    Ok(Answer { json: Some(to_json(value)), action: None })
}

fn to_json<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|error| panic!("an answer does not serialize: {error}"))
}

/// An action whose outcome is the answer.
fn act(action: Action) -> Result {
    Ok(Answer { json: None, action: Some(action) })
}

/// An action, and what to answer once it is done.
fn act_then<T: Serialize + ?Sized>(action: Action, then: &T) -> Result {
    Ok(Answer { json: Some(to_json(then)), action: Some(action) })
}

/// The number of a block, or none where there is no such block.
fn number_of(head: &BlockRef, block: BlockId) -> Option<u64> {
    let number = match block {
        BlockId::Hash(hash) => index::block_number(hash.block_hash)?,
        BlockId::Number(tag) => match tag {
            // One sequencer: what is committed is final.
            BlockNumberOrTag::Latest | BlockNumberOrTag::Pending | BlockNumberOrTag::Safe | BlockNumberOrTag::Finalized => head.height,
            BlockNumberOrTag::Earliest => Spec::load().genesis_number,
            BlockNumberOrTag::Number(number) => number,
        },
    };
    (number <= head.height).then_some(number)
}

/// Moves the reads of this call to the end of a block, and answers its header.
fn seek(head: &BlockRef, block: BlockId) -> Result<(B256, Header)> {
    let number = number_of(head, block).ok_or_else(error::unknown_block)?;
    let header = headers::header(number).ok_or_else(error::unknown_block)?;
    if number != head.height {
        tables::seek(number).map_err(|heights| error::pruned(number, heights.oldest))?;
    }
    Ok(header)
}

pub fn notify(head: &BlockRef, filter: &[u8], occurrence: &Occurrence) -> Vec<Vec<u8>> {
    filters::notify(head, filter, occurrence)
}
