// node ethers.mjs HTTP_URL WS_URL
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Contract, ContractFactory, JsonRpcProvider, NonceManager, Wallet, WebSocketProvider, parseEther, verifyTypedData } from "ethers";

const [http, ws] = process.argv.slice(2);
const { abi, bytecode } = JSON.parse(readFileSync(new URL("Counter.json", import.meta.url)));
const key = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

async function exercise(provider, pollsEvents) {
  const wallet = new Wallet(key, provider);
  assert.equal((await provider.getNetwork()).chainId, 31337n);

  // The node's own accounts, unlocked.
  const signer = await provider.getSigner(1);
  const paid = await (await signer.sendTransaction({ to: wallet.address, value: parseEther("1") })).wait();
  assert.equal(paid.status, 1);
  const domain = { name: "Subnode", version: "1", chainId: 31337 };
  const types = { Note: [{ name: "text", type: "string" }] };
  const signature = await signer.signTypedData(domain, types, { text: "hello" });
  assert.equal(verifyTypedData(domain, types, { text: "hello" }, signature), await signer.getAddress());

  const counter = await (await new ContractFactory(abi, bytecode, wallet).deploy()).waitForDeployment();
  const address = await counter.getAddress();
  if (pollsEvents) provider.pollingInterval = 50;
  const receipt = await (await counter.add(7n)).wait();
  assert.equal(receipt.logs.length, 1);
  assert.equal(await counter.count(), 7n);

  const events = await counter.queryFilter(counter.filters.Counted(wallet.address), receipt.blockNumber);
  assert.equal(events.length, 1);
  assert.equal(events[0].args.count, 7n);
  const heard = new Promise((resolve) => counter.once("Counted", (by) => resolve(by)));
  // The listener is set up in the background: add until one is heard.
  while (!(await Promise.race([heard, new Promise((resolve) => setTimeout(resolve, 100))]))) await (await counter.add(1n)).wait();
  assert.equal(await heard, wallet.address);

  await assert.rejects(counter.add(101n), (error) => {
    const revert = counter.interface.parseError(error.data);
    return error.code === "CALL_EXCEPTION" && revert.name === "TooMany" && revert.args[0] === 101n;
  });
  await assert.rejects(counter.add.staticCall(0n), (error) => error.reason === "nothing to add");
  // A state of the past.
  assert.equal(await counter.count({ blockTag: receipt.blockNumber - 1 }), 0n);
  const block = await provider.getBlock(receipt.blockNumber, true);
  assert.equal(block.prefetchedTransactions[0].hash, receipt.hash);
  const fees = await provider.getFeeData();
  assert.ok(fees.maxFeePerGas > 0n);
  await assert.rejects(new Wallet(Wallet.createRandom().privateKey, provider).sendTransaction({ to: wallet.address, value: 1n }), { code: "INSUFFICIENT_FUNDS" });
  await assert.rejects(wallet.sendTransaction({ to: wallet.address, nonce: 0 }), { code: "NONCE_EXPIRED" });
  const proof = await provider.send("eth_getProof", [address, ["0x0"], "latest"]);
  const reader = new Contract(address, abi, provider);
  assert.equal(await reader.count(), BigInt(proof.storageProof[0].value));
}

// Many sends at once: of an account of the node, and of one that counts its nonces itself.
async function atOnce(provider) {
  const [, , unlocked, to] = await Promise.all([0, 1, 2, 3].map((index) => provider.getSigner(index)));
  for (const sender of [unlocked, new NonceManager(new Wallet(key, provider))]) {
    const first = await sender.getNonce();
    const sent = await Promise.all(Array.from({ length: 16 }, () => sender.sendTransaction({ to, value: 1n })));
    const receipts = await Promise.all(sent.map((transaction) => transaction.wait()));
    assert.ok(receipts.every(({ status }) => status === 1));
    assert.deepEqual(sent.map(({ nonce }) => nonce - first).sort((one, other) => one - other), receipts.map((_, index) => index));
  }
}

// What is heard goes on after a revert; what the revert undid may be told again, as removed.
async function overReverts(provider) {
  const counter = await (await new ContractFactory(abi, bytecode, await provider.getSigner(4)).deploy()).waitForDeployment();
  const heard = [];
  await counter.on("Counted", (by, count, { log }) => log.removed || heard.push(count));
  // The listener is set up in the background, and one that polls asks when the height has grown.
  const hearTwo = async () => {
    const own = [];
    const heardOwn = () => heard.filter((count) => own.includes(count));
    for (let added = 0; heardOwn().length < 2 && added < 50; added++) {
      const [{ args }] = (await (await counter.add(1n)).wait()).logs;
      own.push(args.count);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.ok(heardOwn().length >= 2, "nothing is heard");
    assert.deepEqual(heardOwn().slice(0, 2), own.slice(own.indexOf(heardOwn()[0])).slice(0, 2));
    heard.length = 0;
  };
  await hearTwo();
  const id = await provider.send("evm_snapshot", []);
  await hearTwo();
  await hearTwo();
  assert.equal(await provider.send("evm_revert", [id]), true);
  await hearTwo();
  await counter.removeAllListeners();
}

const overHttp = new JsonRpcProvider(http, undefined, { cacheTimeout: -1 });
await exercise(overHttp, true);
await atOnce(overHttp);
await overReverts(overHttp);
const overWs = new WebSocketProvider(ws, await overHttp.getNetwork(), { cacheTimeout: -1, staticNetwork: true });
await exercise(overWs, false);
await atOnce(overWs);
await overReverts(overWs);
// `destroy` would refuse the end of a subscription, which is still on its way.
process.exit(0);
