// hardhat run exercise.cjs, with HTTP_URL and WS_URL
const assert = require("node:assert/strict");
const { ethers, network } = require("hardhat");

async function main() {
  const [owner, other] = await ethers.getSigners();
  assert.equal((await ethers.getSigners()).length, 10);
  const counter = await (await ethers.deployContract("Counter")).waitForDeployment();
  const address = await counter.getAddress();

  // Told which network it is: an event that came before ethers had asked would be an error of its own.
  const socket = new ethers.WebSocketProvider(process.env.WS_URL, await ethers.provider.getNetwork(), { staticNetwork: true });
  const watched = new ethers.Contract(address, counter.interface, socket);
  const heard = new Promise((resolve) => watched.once("Counted", (by) => resolve(by)));

  const receipt = await (await counter.connect(other).add(3n)).wait();
  assert.equal(receipt.status, 1);
  const events = await counter.queryFilter("Counted");
  assert.equal(events.length, 1);
  assert.equal(events[0].args.count, 3n);
  // The listener is set up in the background: add until one is heard.
  while (!(await Promise.race([heard, new Promise((resolve) => setTimeout(resolve, 100))]))) await (await counter.connect(other).add(1n)).wait();
  assert.equal(await heard, other.address);
  const before = await counter.count();
  await assert.rejects(counter.add(101n), (error) => counter.interface.parseError(error.data.data ?? error.data).name === "TooMany");
  await assert.rejects(counter.add(0n), /nothing to add/);

  // What hardhat-network-helpers is made of.
  const snapshot = await network.provider.send("evm_snapshot");
  await network.provider.send("hardhat_setBalance", [owner.address, "0xde0b6b3a7640000"]);
  assert.equal(await ethers.provider.getBalance(owner.address), 10n ** 18n);
  await network.provider.send("hardhat_mine", ["0x10"]);
  await network.provider.send("evm_increaseTime", [3600]);
  await network.provider.send("evm_mine");
  const { timestamp } = await ethers.provider.getBlock("latest");
  await network.provider.send("evm_setNextBlockTimestamp", [timestamp + 100]);
  await network.provider.send("evm_mine");
  assert.equal((await ethers.provider.getBlock("latest")).timestamp, timestamp + 100);
  await network.provider.send("hardhat_impersonateAccount", [address]);
  await network.provider.send("hardhat_setBalance", [address, "0xde0b6b3a7640000"]);
  const contract = await ethers.getSigner(address);
  await (await contract.sendTransaction({ to: owner.address, value: 1n })).wait();
  await network.provider.send("hardhat_stopImpersonatingAccount", [address]);
  assert.equal(await network.provider.send("evm_revert", [snapshot]), true);
  assert.equal(await counter.count(), before);
  await socket.destroy();
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
