// All of hardhat-network-helpers. Each changes the chain, and what it changed is read back in the usual way.

const SOMEONE = "0x0000000000000000000000000000000000001234";
const ETHER = 10n ** 18n;

module.exports = ({ expect, ethers, helpers, refuses, send }) => {
  const latest = () => ethers.provider.getBlock("latest");

  describe("loadFixture", () => {
    async function vaultWithDeposit() {
      const vault = await ethers.deployContract("Vault");
      await (await vault.deposit("first", { value: 5n })).wait();
      return { vault, height: await helpers.time.latestBlock() };
    }

    for (const round of [1, 2, 3]) {
      it(`round ${round}`, async () => {
        const { vault, height } = await helpers.loadFixture(vaultWithDeposit);
        expect(await helpers.time.latestBlock()).to.equal(height);
        expect(await vault.totalSupply()).to.equal(5n);
        await (await vault.deposit("second", { value: 7n })).wait();
        expect(await vault.totalSupply()).to.equal(12n);
      });
    }

    it("a fixture in place of a later one", async () => {
      const later = async () => (await vaultWithDeposit()).vault;
      await (await (await helpers.loadFixture(later)).deposit("", { value: 1n })).wait();
      const { vault } = await helpers.loadFixture(vaultWithDeposit);
      expect(await vault.totalSupply()).to.equal(5n);
      expect(await (await helpers.loadFixture(later)).totalSupply()).to.equal(5n);
    });
  });

  describe("network helpers", () => {
    let before;
    beforeEach(async () => { before = await helpers.takeSnapshot(); });
    afterEach(() => before.restore());

    it("takeSnapshot, restored more than once", async () => {
      const snapshot = await helpers.takeSnapshot();
      const { number } = await latest();
      for (let round = 0; round < 3; round++) {
        await helpers.setBalance(SOMEONE, ETHER);
        await helpers.mine(3);
        await snapshot.restore();
        expect((await latest()).number).to.equal(number);
        expect(await ethers.provider.getBalance(SOMEONE)).to.equal(0n);
      }
      const inner = await helpers.takeSnapshot();
      await snapshot.restore();
      await expect(inner.restore()).to.be.rejectedWith("Trying to restore an invalid snapshot.");
    });

    it("mine and mineUpTo", async () => {
      const start = await latest();
      await helpers.mine();
      expect((await latest()).number).to.equal(start.number + 1);
      await helpers.mine(5, { interval: 60 });
      const mined = await latest();
      expect(mined.number).to.equal(start.number + 6);
      expect(mined.timestamp - (await ethers.provider.getBlock(mined.number - 4)).timestamp).to.equal(240);
      await helpers.mineUpTo(start.number + 1000);
      expect(await helpers.time.latestBlock()).to.equal(start.number + 1000);
      expect((await ethers.provider.getBlock(start.number + 500)).number).to.equal(start.number + 500);
    });

    it("time", async () => {
      const { time } = helpers;
      const start = await time.latest();
      expect(await time.increase(3600)).to.be.at.least(start + 3600);
      const later = (await time.latest()) + time.duration.days(2);
      await time.increaseTo(later);
      expect(await time.latest()).to.equal(later);
      expect((await latest()).timestamp).to.equal(later);
      await time.setNextBlockTimestamp(later + 500);
      const [owner] = await ethers.getSigners();
      const { blockNumber } = await (await owner.sendTransaction({ to: SOMEONE, value: 1n })).wait();
      expect((await ethers.provider.getBlock(blockNumber)).timestamp).to.equal(later + 500);
      await expect(time.setNextBlockTimestamp(later)).to.be.rejected;
      await expect(time.increaseTo(later)).to.be.rejected;
    });

    it("a call and an estimate see the time of the next block", async () => {
      const vault = await ethers.deployContract("Vault");
      const deadline = (await helpers.time.latest()) + 1000;
      await (await vault.tooLate(deadline)).wait();
      await helpers.time.setNextBlockTimestamp(deadline + 1);
      await expect(vault.tooLate.estimateGas(deadline)).to.be.revertedWith("too late");
      if (refuses) await expect(vault.tooLate(deadline)).to.be.revertedWith("too late");
    });

    it("accounts: balance, code, nonce, storage", async () => {
      await helpers.setBalance(SOMEONE, 3n * ETHER);
      expect(await ethers.provider.getBalance(SOMEONE)).to.equal(3n * ETHER);
      await helpers.setCode(SOMEONE, "0x60005460005260206000f3");
      expect(await ethers.provider.getCode(SOMEONE)).to.equal("0x60005460005260206000f3");
      await helpers.setStorageAt(SOMEONE, 0, 42);
      expect(await helpers.getStorageAt(SOMEONE, 0)).to.equal(ethers.toBeHex(42, 32));
      expect(BigInt(await ethers.provider.call({ to: SOMEONE }))).to.equal(42n);
      await helpers.setNonce(SOMEONE, 9);
      expect(await ethers.provider.getTransactionCount(SOMEONE)).to.equal(9);
      await expect(helpers.setNonce(SOMEONE, 8)).to.be.rejected;
    });

    it("the next block: base fee, coinbase, randomness, gas limit", async () => {
      await helpers.setNextBlockBaseFeePerGas(7_000_000_000n);
      await helpers.setCoinbase(SOMEONE);
      await helpers.setPrevRandao(0x1234);
      await helpers.setBlockGasLimit(20_000_000);
      await helpers.mine();
      const block = await latest();
      expect(block.baseFeePerGas).to.equal(7_000_000_000n);
      expect(block.miner).to.equal(SOMEONE);
      expect(BigInt((await send("eth_getBlockByNumber", ["latest", false])).mixHash)).to.equal(0x1234n);
      expect(block.gasLimit).to.equal(20_000_000n);
    });

    it("impersonateAccount and stopImpersonatingAccount", async () => {
      const vault = await ethers.deployContract("Vault");
      const address = await vault.getAddress();
      await helpers.impersonateAccount(address);
      await helpers.setBalance(address, ETHER);
      const as = await ethers.getSigner(address);
      const sent = await as.sendTransaction({ to: SOMEONE, value: 1n });
      const receipt = await sent.wait();
      expect(receipt.from).to.equal(address);
      expect((await ethers.provider.getTransaction(receipt.hash)).from).to.equal(address);
      await helpers.stopImpersonatingAccount(address);
      await expect(as.sendTransaction({ to: SOMEONE, value: 1n })).to.be.rejected;
      await expect(as.signMessage("none")).to.be.rejected;
    });

    it("dropTransaction", async () => {
      const [owner] = await ethers.getSigners();
      const nonce = await owner.getNonce();
      await send("evm_setAutomine", [false]);
      try {
        const hash = await send("eth_sendTransaction", [{ from: owner.address, to: SOMEONE, value: "0x1" }]);
        expect(await owner.getNonce("pending")).to.equal(nonce + 1);
        expect((await ethers.provider.getTransaction(hash)).blockNumber).to.equal(null);
        expect(await helpers.dropTransaction(hash)).to.equal(true);
        expect(await helpers.dropTransaction(hash)).to.equal(false);
        expect(await owner.getNonce("pending")).to.equal(nonce);
        await helpers.mine();
        expect(await owner.getNonce()).to.equal(nonce);
      } finally {
        await send("evm_setAutomine", [true]);
      }
    });
  });

  // Hardhat 3 has no such helper. It takes the snapshots with it.
  if (helpers.reset) describe("reset", () => {
    it("begins again", async () => {
      const { chainId } = await ethers.provider.getNetwork();
      const [owner] = await ethers.getSigners();
      const balance = 10_000n * ETHER;
      await (await ethers.deployContract("Vault")).waitForDeployment();
      expect(await ethers.provider.getBalance(owner)).to.be.below(balance);
      await helpers.reset();
      expect(await helpers.time.latestBlock()).to.equal(0);
      expect(await owner.getNonce()).to.equal(0);
      expect(await ethers.provider.getBalance(owner)).to.equal(balance);
      expect((await ethers.provider.getNetwork()).chainId).to.equal(chainId);
      const vault = await (await ethers.deployContract("Vault")).waitForDeployment();
      expect(await vault.getAddress()).to.equal(ethers.getCreateAddress({ from: owner.address, nonce: 0 }));
    });
  });

  // Last, as more than a chain's memory has room for cannot be returned to.
  if (process.env.MANY_BLOCKS) describe("many blocks", () => {
    it("mine a week of blocks", async () => {
      const start = await latest();
      await helpers.mine(50_400, { interval: 12 });
      const end = await latest();
      expect(end.number).to.equal(start.number + 50_400);
      expect(end.timestamp).to.be.at.least(start.timestamp + 50_399 * 12);
    });
  });
};
