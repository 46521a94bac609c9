"""python web3_client.py HTTP_URL WS_URL"""

import asyncio
import json
import pathlib
import sys
from concurrent.futures import ThreadPoolExecutor

from web3 import AsyncWeb3, Web3, WebSocketProvider
from web3.exceptions import ContractCustomError, ContractLogicError, Web3RPCError
from web3.utils.subscriptions import LogsSubscription

HTTP, WS = sys.argv[1:]
COUNTER = json.loads(pathlib.Path(__file__).with_name("Counter.json").read_text())
KEY = "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"


def over_http():
    web3 = Web3(Web3.HTTPProvider(HTTP))
    assert web3.is_connected()
    account = web3.eth.account.from_key(KEY)
    owner = web3.eth.accounts[0]
    deployed = web3.eth.contract(abi=COUNTER["abi"], bytecode=COUNTER["bytecode"]).constructor().transact({"from": owner})
    address = web3.eth.wait_for_transaction_receipt(deployed)["contractAddress"]
    counter = web3.eth.contract(address=address, abi=COUNTER["abi"])
    created = counter.events.Counted.create_filter(from_block="latest")

    transaction = counter.functions.add(5).build_transaction({"from": account.address, "nonce": web3.eth.get_transaction_count(account.address)})
    signed = account.sign_transaction(transaction)
    receipt = web3.eth.wait_for_transaction_receipt(web3.eth.send_raw_transaction(signed.raw_transaction))
    assert receipt["status"] == 1
    assert counter.events.Counted().process_receipt(receipt)[0]["args"]["count"] == 5
    assert [entry["args"]["count"] for entry in created.get_new_entries()] == [5]
    assert counter.events.Counted().get_logs(from_block=receipt["blockNumber"])[0]["args"]["by"] == account.address
    assert counter.functions.count().call() == 5
    for amount, error in ((101, ContractCustomError), (0, ContractLogicError)):
        try:
            counter.functions.add(amount).call()
            raise AssertionError(f"add({amount}) went through")
        except error:
            pass
    assert web3.eth.get_block("latest", full_transactions=True)["transactions"][0]["hash"] == receipt["transactionHash"]
    assert web3.eth.fee_history(2, "latest", [50.0])["baseFeePerGas"]
    assert web3.eth.get_proof(address, [0], "latest")["storageProof"][0]["value"].hex().endswith("5")
    try:
        web3.eth.send_raw_transaction(signed.raw_transaction)
        raise AssertionError("a used nonce went through")
    except Web3RPCError as error:
        assert "nonce too low" in str(error) or "already known" in str(error), error
    at_once(web3, web3.eth.accounts[2], owner)
    return web3, counter, owner


def over_reverts(web3, counter, owner):
    """Filters go on after a revert; what the revert undid may be told again, as removed, which web3.py's events do not say."""
    add = lambda: web3.eth.wait_for_transaction_receipt(counter.functions.add(1).transact({"from": owner}))
    count = lambda log: counter.events.Counted().process_log(log)["args"]["count"]
    # get_new_entries() drops what says that a log was removed.
    counts = lambda created: [count(log) for log in web3.eth.get_filter_changes(created.filter_id) if not log["removed"]]
    created, blocks = counter.events.Counted.create_filter(from_block="latest"), web3.eth.filter("latest")
    created.get_new_entries(), blocks.get_new_entries()
    before = counter.functions.count().call()
    snapshot = web3.provider.make_request("evm_snapshot", [])["result"]
    for _ in range(3):
        add()
    assert counts(created) == [before + 1, before + 2, before + 3]
    assert len(blocks.get_new_entries()) == 3
    assert web3.provider.make_request("evm_revert", [snapshot])["result"] is True
    receipt = add()
    assert counts(created) == [before + 1]
    assert blocks.get_new_entries()[-1] == receipt["blockHash"]
    assert counts(created) == []


def at_once(web3, sender, to):
    """Many sends of one account at once."""
    first = web3.eth.get_transaction_count(sender)
    with ThreadPoolExecutor(8) as threads:
        hashes = list(threads.map(lambda _: web3.eth.send_transaction({"from": sender, "to": to, "value": 1}), range(32)))
    assert len(set(hashes)) == 32
    assert all(web3.eth.wait_for_transaction_receipt(hash)["status"] == 1 for hash in hashes)
    assert web3.eth.get_transaction_count(sender) == first + 32


async def over_websocket(address):
    async with AsyncWeb3(WebSocketProvider(WS)) as web3:
        counter = web3.eth.contract(address=address, abi=COUNTER["abi"])
        heard = asyncio.get_running_loop().create_future()

        async def on_log(context):
            if not heard.done():
                heard.set_result(context.result)

        await web3.subscription_manager.subscribe([LogsSubscription(address=address, topics=[counter.events.Counted().topic], handler=on_log)])
        listening = asyncio.create_task(web3.subscription_manager.handle_subscriptions())
        sender = (await web3.eth.accounts)[1]
        receipt = await web3.eth.wait_for_transaction_receipt(await counter.functions.add(2).transact({"from": sender}))
        log = await asyncio.wait_for(heard, 20)
        assert log["transactionHash"] == receipt["transactionHash"]
        assert counter.events.Counted().process_log(log)["args"]["count"] == 7
        assert await counter.functions.count().call() == 7
        listening.cancel()


web3, counter, owner = over_http()
asyncio.run(over_websocket(counter.address))
over_reverts(web3, counter, owner)
