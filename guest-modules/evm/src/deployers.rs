//! Who may create contracts, on a chain whose genesis says `config.subnode.deployers`: the storage of a contract that genesis puts at
//! [`ADDRESS`], so that a transaction of its owner changes it.
//!
//! | slot | value |
//! |---|---|
//! | 0 | the owner |
//! | a deployer's address | 1 |
//!
//! `allow(address)`, `disallow(address)` and `transferOwnership(address)` are the owner's, `isAllowed(address)` and `owner()` anyone's. A change
//! holds from the next creation on, in the same transaction too. The owner is allowed nothing more than it allows itself.
//!
//! What counts is a transaction's **origin**, whoever creates: a creation by a transaction, and by CREATE or CREATE2 in whatever contract the
//! transaction calls. So a factory creates contracts for those on the list and for nobody else, and to put a factory on the list means
//! nothing. A bundler (ERC-4337) or a relayer that is on the list creates whatever it is handed: it answers for that. Code that an account names
//! for itself by EIP-7702 is created by nobody here, and is not asked about; neither are the accounts of genesis.
//!
//! The pool refuses the creation of an origin that is not on the list. In a block, a creation that is refused reverts before its first instruction,
//! with an `Error(string)` that names the origin, and costs what it cost so far.

use alloy_primitives::{Address, Bytes, U256, address, keccak256};
use revm::{
    Journal,
    context::{JournalTr as _, journaled_state::account::JournaledAccountTr as _},
    database_interface::Database,
    interpreter::{CreateInputs, CreateOutcome, Gas, InstructionResult, InterpreterResult},
};
use serde::{Deserialize, Deserializer, de};

use crate::{
    assembly::{FIRST, Piece, RETURN_WORD, REVERT, SELECTOR, SLOT_0, STRANGER, assemble},
    state::{Account, State},
};

/// Where the contract is.
pub const ADDRESS: Address = address!("00000000000000000000000000000000005b0de1");
/// Deployers that a genesis file names at most. Later ones are the owner's to add, a row of the state each.
const NAMED_MAX: usize = 4096;
/// `Error(string)`, as Solidity reverts.
const ERROR: [u8; 4] = [0x08, 0xc3, 0x79, 0xa0];

/// `config.subnode.deployers` of a genesis file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployers {
    #[serde(deserialize_with = "account")]
    owner: Address,
    #[serde(deserialize_with = "accounts")]
    allowed: Vec<Address>,
}

/// An address; an error has the text that is none.
struct Named(Address);

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let address: Option<Address> = text.parse().ok().filter(|address: &Address| !address.is_zero());
        address.map(Self).ok_or_else(|| de::Error::custom(format!("{text:?}; use an address, 0x and 40 hexadecimal digits, that is not 0")))
    }
}

fn account<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
    Named::deserialize(deserializer).map(|Named(address)| address)
}

fn accounts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Address>, D::Error> {
    Ok(Vec::<Named>::deserialize(deserializer)?.into_iter().map(|Named(address)| address).collect())
}

impl Deployers {
    /// Puts the contract there, in place of whatever the file has at its address.
    pub fn found(&self, state: &mut State) -> Result<(), String> {
        let count = self.allowed.len();
        if count > NAMED_MAX {
            return Err(format!(
                "config.subnode.deployers.allowed: {count} addresses; name {NAMED_MAX} at most, and allow the others later"
            ));
        }
        state.wipe_storage(ADDRESS);
        state.set_account(ADDRESS, Account { nonce: 1, ..Account::default() });
        state.set_code(ADDRESS, code());
        state.set_storage(ADDRESS, U256::ZERO, self.owner.into_word().into());
        for deployer in &self.allowed {
            state.set_storage(ADDRESS, slot(*deployer), U256::ONE);
        }
        Ok(())
    }
}

fn slot(deployer: Address) -> U256 {
    deployer.into_word().into()
}

fn refusal(origin: Address, owner: U256) -> String {
    let owner = Address::from_word(owner.into());
    format!("{origin} may not create contracts on this chain; its owner {owner} allows it by allow({origin}) at {ADDRESS}")
}

/// Whether a creation by this sender may enter the pool.
pub fn admit(state: &mut State, sender: Address) -> Result<(), String> {
    let Ok(allowed) = state.storage(ADDRESS, slot(sender));
    if !sender.is_zero() && !allowed.is_zero() {
        return Ok(());
    }
    let Ok(owner) = state.storage(ADDRESS, U256::ZERO);
    Err(refusal(sender, owner))
}

/// What a creation comes to that its transaction's origin is not allowed: none where it is.
///
/// The list is read past revm's warm and cold slots, so what a transaction's own calls of the contract cost is as if nobody had looked.
pub fn refused(journal: &mut Journal<State>, origin: Address, inputs: &CreateInputs) -> Option<CreateOutcome> {
    if !origin.is_zero() && !word(journal, slot(origin)).is_zero() {
        return None;
    }
    let output = revert(&refusal(origin, word(journal, U256::ZERO)));
    // As any creation that reverts, it takes a nonce of its creator: a transaction's would otherwise be good for ever.
    let Ok(mut creator) = journal.load_account_mut(inputs.caller());
    creator.bump_nonce();
    Some(CreateOutcome {
        result: InterpreterResult {
            result: InstructionResult::Revert,
            gas: Gas::new_with_regular_gas_and_reservoir(inputs.gas_limit(), inputs.reservoir()),
            output,
        },
        address: None,
        charged_create_state_gas: inputs.charged_create_state_gas(),
    })
}

/// A word of the contract's storage at this moment of the transaction.
fn word(journal: &mut Journal<State>, slot: U256) -> U256 {
    let changed = journal.inner.state.get(&ADDRESS).and_then(|account| account.storage.get(&slot)).map(|slot| slot.present_value);
    changed.unwrap_or_else(|| {
        let Ok(word) = journal.database.storage(ADDRESS, slot);
        word
    })
}

/// What Solidity's `revert(text)` returns.
fn revert(text: &str) -> Bytes {
    let padded = text.len().next_multiple_of(32);
    let mut output = ERROR.to_vec();
    output.extend(U256::from(32).to_be_bytes::<32>());
    output.extend(U256::from(text.len()).to_be_bytes::<32>());
    output.extend(text.as_bytes());
    output.resize(ERROR.len() + 64 + padded, 0);
    output.into()
}

#[derive(Clone, Copy, PartialEq)]
enum Label {
    Allow,
    Disallow,
    Set,
    IsAllowed,
    Owner,
    Transfer,
    Fail,
}

/// The contract.
fn code() -> Bytes {
    use Piece::{At, Code, If, Jump, Word};
    // Leaves whether the argument has more bits than an address.
    const LONG: &[u8] = &[0x60, 0x04, 0x35, 0x60, 0xa0, 0x1c];
    assemble(&[
        // It takes no money.
        Code(&[0x34]),
        Jump(Label::Fail),
        Code(SELECTOR),
        If("allow(address)", Label::Allow),
        If("disallow(address)", Label::Disallow),
        If("isAllowed(address)", Label::IsAllowed),
        If("owner()", Label::Owner),
        If("transferOwnership(address)", Label::Transfer),
        At(Label::Fail),
        Code(REVERT),
        At(Label::Disallow),
        Code(&[0x5f, 0x60, 0x01]),
        Jump(Label::Set),
        At(Label::Allow),
        Code(&[0x60, 0x01]),
        // What the slot becomes is on the stack.
        At(Label::Set),
        Code(STRANGER),
        Jump(Label::Fail),
        Code(LONG),
        Jump(Label::Fail),
        // Slot 0 is not a deployer's.
        Code(FIRST),
        Code(&[0x15]),
        Jump(Label::Fail),
        Code(&[0x80]),
        Code(FIRST),
        Code(&[0x55]),
        // The event: its topic, the address; what the slot became as data.
        Code(&[0x5f, 0x52]),
        Code(FIRST),
        Word(keccak256("DeployerSet(address,bool)")),
        Code(&[0x60, 0x20, 0x5f, 0xa2, 0x00]),
        At(Label::IsAllowed),
        // The slot, but for the owner's.
        Code(FIRST),
        Code(&[0x80, 0x54, 0x90, 0x15, 0x15, 0x02]),
        Code(RETURN_WORD),
        At(Label::Owner),
        Code(SLOT_0),
        Code(RETURN_WORD),
        At(Label::Transfer),
        Code(STRANGER),
        Jump(Label::Fail),
        Code(LONG),
        Jump(Label::Fail),
        // To nobody is a slip.
        Code(FIRST),
        Code(&[0x15]),
        Jump(Label::Fail),
        // The event: its topic, the old owner, the new one.
        Code(FIRST),
        Code(SLOT_0),
        Word(keccak256("OwnershipTransferred(address,address)")),
        Code(&[0x5f, 0x5f, 0xa3]),
        Code(FIRST),
        Code(&[0x5f, 0x55, 0x00]),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::contract::{Owned, calldata};
    use alloy_dyn_abi::DynSolType;

    const OWNER: Address = Address::repeat_byte(0xaa);
    const OTHER: Address = Address::repeat_byte(0xbb);

    struct Contract(Owned);

    impl Contract {
        fn new() -> Self {
            Self(Owned::new(ADDRESS, code(), OWNER))
        }

        /// What a call by this account comes to: none where it reverts.
        fn call(&mut self, caller: Address, signature: &str, argument: Option<U256>, value: u64) -> Option<(Bytes, Vec<Vec<U256>>)> {
            let (output, logs) = self.0.call(caller, calldata(signature, argument.as_slice()), value)?;
            let words = |log: alloy_primitives::Log| {
                let data = log.data.data.chunks(32).map(U256::from_be_slice).collect::<Vec<_>>();
                log.topics().iter().map(|topic| (*topic).into()).chain(data).collect()
            };
            Some((output, logs.into_iter().map(words).collect()))
        }

        fn word(&mut self, signature: &str, argument: Option<U256>) -> U256 {
            let (output, logs) = self.call(OTHER, signature, argument, 0).expect("anyone may ask");
            assert!(logs.is_empty());
            U256::from_be_slice(&output)
        }

        fn is_allowed(&mut self, deployer: U256) -> bool {
            let word = self.word("isAllowed(address)", Some(deployer));
            assert!(word <= U256::ONE, "no truth value: {word}");
            word == U256::ONE
        }
    }

    #[test]
    fn the_owner_alone_changes_the_list_and_says_so() {
        let mut contract = Contract::new();
        let set = |to: u64| vec![vec![keccak256("DeployerSet(address,bool)").into(), slot(OTHER), U256::from(to)]];
        assert!(!contract.is_allowed(slot(OTHER)));
        assert_eq!(contract.call(OTHER, "allow(address)", Some(slot(OTHER)), 0), None);
        assert_eq!(contract.call(OWNER, "allow(address)", Some(slot(OTHER)), 0), Some((Bytes::new(), set(1))));
        assert!(contract.is_allowed(slot(OTHER)));
        assert_eq!(contract.call(OTHER, "disallow(address)", Some(slot(OTHER)), 0), None);
        assert!(contract.is_allowed(slot(OTHER)));
        assert_eq!(contract.call(OWNER, "disallow(address)", Some(slot(OTHER)), 0), Some((Bytes::new(), set(0))));
        assert!(!contract.is_allowed(slot(OTHER)));
    }

    #[test]
    fn ownership_moves_and_to_nobody_it_does_not() {
        let mut contract = Contract::new();
        assert_eq!(contract.call(OTHER, "transferOwnership(address)", Some(slot(OTHER)), 0), None);
        for wrong in [U256::ZERO, U256::MAX, U256::ONE << 160] {
            assert_eq!(contract.call(OWNER, "transferOwnership(address)", Some(wrong), 0), None, "{wrong}");
        }
        assert_eq!(contract.word("owner()", None), slot(OWNER));
        let (_, logs) = contract.call(OWNER, "transferOwnership(address)", Some(slot(OTHER)), 0).expect("the owner's");
        assert_eq!(logs, [[keccak256("OwnershipTransferred(address,address)").into(), slot(OWNER), slot(OTHER)]]);
        assert_eq!(contract.word("owner()", None), slot(OTHER));
        assert_eq!(contract.call(OWNER, "allow(address)", Some(slot(OWNER)), 0), None, "not any more");
        assert!(contract.call(OTHER, "allow(address)", Some(slot(OWNER)), 0).is_some());
    }

    #[test]
    fn nothing_but_an_address_is_on_the_list_and_nothing_but_a_function_is_called() {
        let mut contract = Contract::new();
        // The owner's slot is nobody's, and the bits above an address are no part of one.
        for wrong in [U256::ZERO, U256::MAX, slot(OTHER) | U256::ONE << 160] {
            assert!(!contract.is_allowed(wrong), "{wrong}");
            for function in ["allow(address)", "disallow(address)"] {
                assert_eq!(contract.call(OWNER, function, Some(wrong), 0), None, "{function} {wrong}");
            }
        }
        assert_eq!(contract.call(OWNER, "allow(address)", None, 0), None, "without an argument");
        assert_eq!(contract.call(OWNER, "allow(address)", Some(slot(OTHER)), 1), None, "with money");
        assert_eq!(contract.call(OWNER, "renounceOwnership()", None, 0), None);
        assert_eq!(contract.word("owner()", None), slot(OWNER));
    }

    #[test]
    fn the_contract_is_the_one_that_chains_have() {
        // Another code is another genesis: chains that were born with this one would not open.
        assert_eq!(keccak256(code()).to_string(), "0x904aa21ac96440844d90a73a1b528e86e9eb43d74ae347ef37bc1c5c8d0ca035");
    }

    #[test]
    fn a_refusal_reads_as_solidity_reverts() {
        let text = refusal(OTHER, slot(OWNER));
        let output = revert(&text);
        assert_eq!(output.len() % 32, 4);
        assert_eq!(DynSolType::String.abi_decode(&output[4..]), Ok(text.clone().into()));
        for named in [format!("{OTHER} may not create"), format!("its owner {OWNER}"), format!("allow({OTHER}) at {ADDRESS}")] {
            assert!(text.contains(&named), "{text}");
        }
    }

    #[test]
    fn what_a_file_says_wrong_is_named() {
        let read =
            |json: serde_json::Value| serde_path_to_error::deserialize::<_, Deployers>(json).map(drop).map_err(|error| error.to_string());
        let owner = OWNER.to_string();
        assert_eq!(read(serde_json::json!({ "owner": owner, "allowed": [owner] })), Ok(()));
        for (value, texts) in [
            (serde_json::json!({ "owner": owner }), ["missing field", "`allowed`"]),
            (serde_json::json!({ "owner": "me", "allowed": [] }), ["owner: \"me\"", "40 hexadecimal digits"]),
            (serde_json::json!({ "owner": 5, "allowed": [] }), ["owner:", "integer `5`"]),
            (serde_json::json!({ "owner": Address::ZERO, "allowed": [] }), ["owner: \"0x0000", "not 0"]),
            (serde_json::json!({ "owner": owner, "allowed": ["0x12"] }), ["allowed[0]: \"0x12\"", "use an address"]),
            (serde_json::json!({ "owner": owner, "allowed": "all" }), ["allowed:", "expected a sequence"]),
            (serde_json::json!({ "owner": owner, "allowed": [], "admin": 1 }), ["unknown field `admin`", "`owner`"]),
        ] {
            let error = read(value.clone()).expect_err("refused");
            assert!(texts.iter().all(|text| error.contains(text)), "{value}: {error}");
        }
    }
}
