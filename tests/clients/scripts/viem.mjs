// node viem.mjs HTTP_URL WS_URL
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { BaseError, ContractFunctionRevertedError, createPublicClient, createTestClient, createWalletClient, http, parseEther, webSocket } from "viem";
import { nonceManager, privateKeyToAccount } from "viem/accounts";
import { hardhat } from "viem/chains";

const [httpUrl, wsUrl] = process.argv.slice(2);
const { abi, bytecode } = JSON.parse(readFileSync(new URL("Counter.json", import.meta.url)));
const key = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const account = privateKeyToAccount(key);

async function exercise(transport) {
  const reader = createPublicClient({ chain: hardhat, transport, pollingInterval: 50 });
  const wallet = createWalletClient({ account, chain: hardhat, transport });
  assert.equal(await reader.getChainId(), 31337);
  const deployed = await reader.waitForTransactionReceipt({ hash: await wallet.deployContract({ abi, bytecode }) });
  const address = deployed.contractAddress;

  let stop;
  const heard = new Promise((resolve, reject) => {
    stop = reader.watchContractEvent({ address, abi, eventName: "Counted", onLogs: resolve, onError: reject });
  });
  // Subscriptions and filters are set up in the background; add until one is heard.
  let receipt;
  let logs;
  for (let added = 0; !logs && added < 100; added++) {
    const { request } = await reader.simulateContract({ address, abi, functionName: "add", args: [1n], account });
    receipt = await reader.waitForTransactionReceipt({ hash: await wallet.writeContract(request) });
    assert.equal(receipt.status, "success");
    logs = await Promise.race([heard, new Promise((resolve) => setTimeout(resolve, 100))]);
  }
  stop();
  assert.equal(logs[0].args.by, account.address);
  const events = await reader.getContractEvents({ address, abi, eventName: "Counted", fromBlock: deployed.blockNumber });
  assert.equal(events.at(-1).args.count, await reader.readContract({ address, abi, functionName: "count" }));

  await assert.rejects(reader.simulateContract({ address, abi, functionName: "add", args: [101n], account }), (error) => {
    const reverted = error instanceof BaseError && error.walk((cause) => cause instanceof ContractFunctionRevertedError);
    return reverted.data.errorName === "TooMany";
  });
  const overridden = await reader.readContract({
    address, abi, functionName: "count",
    stateOverride: [{ address, stateDiff: [{ slot: `0x${"0".repeat(64)}`, value: `0x${"2a".padStart(64, "0")}` }] }],
  });
  assert.equal(overridden, 42n);
  const fees = await reader.estimateFeesPerGas();
  assert.ok(fees.maxFeePerGas > 0n);
  const block = await reader.getBlock({ includeTransactions: true });
  assert.equal(block.transactions.length, 1);

  const authorization = await wallet.signAuthorization({ contractAddress: address, executor: "self" });
  const delegated = await reader.waitForTransactionReceipt({ hash: await wallet.sendTransaction({ to: account.address, data: "0x06661abd", authorizationList: [authorization] }) });
  assert.equal(delegated.type, "eip7702");
  assert.equal(await reader.getCode({ address: account.address }), `0xef0100${address.slice(2)}`);

  for (const mode of ["anvil", "hardhat"]) {
    const dev = createTestClient({ chain: hardhat, mode, transport });
    const someone = "0x00000000000000000000000000000000000000aa";
    const id = await dev.snapshot();
    await dev.setBalance({ address: someone, value: parseEther("3") });
    assert.equal(await reader.getBalance({ address: someone }), parseEther("3"));
    await dev.impersonateAccount({ address: someone });
    const as = createWalletClient({ account: someone, chain: hardhat, transport });
    await reader.waitForTransactionReceipt({ hash: await as.sendTransaction({ to: "0x00000000000000000000000000000000000000bb", value: 1n }) });
    await dev.stopImpersonatingAccount({ address: someone });
    await dev.setNonce({ address: someone, nonce: 9 });
    assert.equal(await reader.getTransactionCount({ address: someone }), 9);
    await dev.setCode({ address: someone, bytecode: "0x6001" });
    assert.equal(await reader.getCode({ address: someone }), "0x6001");
    await dev.setStorageAt({ address: someone, index: 1, value: `0x${"0".repeat(63)}5` });
    assert.equal(await reader.getStorageAt({ address: someone, slot: "0x1" }), `0x${"0".repeat(63)}5`);
    const before = await reader.getBlock();
    await dev.increaseTime({ seconds: 1000 });
    await dev.mine({ blocks: 3 });
    const after = await reader.getBlock();
    assert.equal(after.number, before.number + 3n);
    assert.ok(after.timestamp >= before.timestamp + 1000n);
    await dev.setAutomine(false);
    const pending = await wallet.sendTransaction({ to: someone, value: 1n });
    await assert.rejects(reader.getTransactionReceipt({ hash: pending }));
    assert.equal(await reader.getTransactionCount({ address: account.address, blockTag: "pending" }), 1 + await reader.getTransactionCount({ address: account.address }));
    await dev.mine({ blocks: 1 });
    assert.equal((await reader.getTransactionReceipt({ hash: pending })).status, "success");
    await dev.setAutomine(true);
    await dev.revert({ id });
    assert.equal(await reader.getBalance({ address: someone }), 0n);
  }
}

// Many sends at once: of an account of the node, and of one that counts its nonces itself.
async function atOnce(transport) {
  const reader = createPublicClient({ chain: hardhat, transport, pollingInterval: 50 });
  const [, , unlocked, to] = await createWalletClient({ chain: hardhat, transport }).getAddresses();
  for (const sender of [unlocked, privateKeyToAccount(key, { nonceManager })]) {
    const wallet = createWalletClient({ account: sender, chain: hardhat, transport });
    const address = wallet.account.address;
    const first = await reader.getTransactionCount({ address });
    const hashes = await Promise.all(Array.from({ length: 16 }, () => wallet.sendTransaction({ to, value: 1n })));
    const receipts = await Promise.all(hashes.map((hash) => reader.waitForTransactionReceipt({ hash })));
    assert.ok(receipts.every(({ status }) => status === "success"));
    assert.equal(await reader.getTransactionCount({ address }), first + 16);
  }
}

// Filters and what is watched go on after a revert; what the revert undid may be told again, as removed.
async function overReverts(transport) {
  const reader = createPublicClient({ chain: hardhat, transport, pollingInterval: 50 });
  const dev = createTestClient({ chain: hardhat, mode: "anvil", transport });
  const [sender] = await createWalletClient({ chain: hardhat, transport }).getAddresses();
  const wallet = createWalletClient({ account: sender, chain: hardhat, transport });
  const { contractAddress: address } = await reader.waitForTransactionReceipt({ hash: await wallet.deployContract({ abi, bytecode }) });
  const add = async () => reader.waitForTransactionReceipt({ hash: await wallet.writeContract({ address, abi, functionName: "add", args: [1n] }) });
  const counts = (logs) => logs.filter(({ removed }) => !removed).map(({ args }) => args.count);
  const filter = await reader.createContractEventFilter({ address, abi, eventName: "Counted" });
  const blocks = await reader.createBlockFilter();
  const watched = [];
  let failed;
  const stop = reader.watchContractEvent({ address, abi, eventName: "Counted", onLogs: (logs) => watched.push(...counts(logs)), onError: (error) => { failed = error; } });
  const hear = async () => {
    watched.length = 0;
    for (let added = 0; watched.length === 0 && added < 50; added++) {
      await add();
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.ok(watched.length > 0, `nothing is heard: ${failed}`);
  };
  await hear();
  const changes = (filter) => reader.getFilterChanges({ filter });
  await Promise.all([filter, blocks].map(changes));
  const id = await dev.snapshot();
  const count = await reader.readContract({ address, abi, functionName: "count" });
  for (let added = 0; added < 3; added++) await add();
  assert.deepEqual(counts(await changes(filter)), [count + 1n, count + 2n, count + 3n]);
  assert.equal((await changes(blocks)).length, 3);
  await dev.revert({ id });
  const { blockHash } = await add();
  assert.deepEqual(counts(await changes(filter)), [count + 1n]);
  assert.equal((await changes(blocks)).at(-1), blockHash);
  await hear();
  stop();
}

for (const transport of [http(httpUrl), webSocket(wsUrl)]) {
  await exercise(transport);
  await atOnce(transport);
  await overReverts(transport);
}
// The socket would be opened again and again.
process.exit(0);
