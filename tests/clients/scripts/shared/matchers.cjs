// All chai matchers of Hardhat's plugins, on what succeeds and on what fails.

// What Solidity gives the failures that it finds itself.
const ASSERTION = 0x01, DIVISION = 0x12, INDEX = 0x32;

// Hardhat 3's matchers take its ethers as the first argument: `before` is what they take before ours.
module.exports = ({ expect, ethers, helpers, matchers: { anyUint, anyValue, before, reverted }, answersMined, refuses }) => {
  // The matchers read a receipt at once: where the answer does not wait for the block, the test does.
  const settled = async (sending) => {
    const sent = await sending;
    if (!answersMined) await sent.wait().catch(() => {});
    return sent;
  };

  describe("chai matchers", () => {
    async function deposited() {
      const [owner, other] = await ethers.getSigners();
      const vault = await ethers.deployContract("Vault");
      await (await vault.deposit("first", { value: 1000n })).wait();
      return { vault, owner, other };
    }
    let vault, owner, other;
    beforeEach(async () => { ({ vault, owner, other } = await helpers.loadFixture(deposited)); });

    it("emit, with arguments, and what is not emitted", async () => {
      await expect(settled(vault.deposit("more", { value: 7n }))).to.emit(vault, "Deposited");
      await expect(settled(vault.connect(other).deposit("more", { value: 7n })))
        .to.emit(vault, "Transfer").withArgs(ethers.ZeroAddress, other.address, 7n)
        .and.to.emit(vault, "Deposited").withArgs(other.address, anyUint, anyValue);
      await expect(settled(vault.transfer(other, 1n))).not.to.emit(vault, "Deposited");
      await expect(expect(settled(vault.transfer(other, 1n))).to.emit(vault, "Deposited")).to.be.rejectedWith('Expected event "Deposited" to be emitted, but it wasn\'t');
    });

    // What is sent, what is called and what is estimated fail alike.
    const ways = {
      sent: (name, ...args) => settled(vault[name](...args)),
      "sent with a gas limit": (name, ...args) => settled(vault[name](...args, { gasLimit: 200_000n })),
      called: (name, ...args) => vault[name].staticCall(...args),
      estimated: (name, ...args) => vault[name].estimateGas(...args),
    };
    for (const [how, by] of Object.entries(ways)) {
      describe(how, () => {
        it("reverted", () => reverted(expect(by("failWithReason", "why not")).to));
        it("not reverted", () => reverted(expect(by("transfer", other.address, 1n)).not.to));
        // With a limit nothing is estimated, and the hash is given before the transaction has run: it fails in its block.
        if ((how === "sent with a gas limit" && !answersMined) || (how === "sent" && !refuses)) {
          it("is mined and has failed", async () => {
            const sent = await by("failWithReason", "why not");
            await expect(sent.wait()).to.be.rejected;
            expect((await ethers.provider.getTransactionReceipt(sent.hash)).status).to.equal(0);
          });
          return;
        }
        it("revertedWith", () => expect(by("failWithReason", "why not")).to.be.revertedWith("why not"));
        it("revertedWith an empty reason", () => expect(by("failWithReason", "")).to.be.revertedWith(""));
        it("revertedWith a pattern", () => expect(by("failWithReason", "why not")).to.be.revertedWith(/^why/));
        it("revertedWith, negated", () => expect(by("failWithReason", "why not")).not.to.be.revertedWith("why"));
        it("revertedWithCustomError", () => expect(by("deposit", "nothing")).to.be.revertedWithCustomError(vault, "Empty"));
        it("revertedWithCustomError with arguments", () =>
          expect(by("transfer", other.address, 1001n)).to.be.revertedWithCustomError(vault, "TooLittle").withArgs(owner.address, 1000n, 1001n));
        it("revertedWithoutReason", () => expect(by("failSilently")).to.be.revertedWithoutReason(...before));
        it("revertedWithPanic, an assertion", () => expect(by("failAssertion")).to.be.revertedWithPanic(ASSERTION));
        it("revertedWithPanic, a division", () => expect(by("divideBy", 0n)).to.be.revertedWithPanic(DIVISION));
        it("revertedWithPanic, an index", () => expect(by("item", 3n)).to.be.revertedWithPanic(INDEX));
        it("the wrong one is told", () =>
          expect(expect(by("failWithReason", "why not")).to.be.revertedWith("because")).to.be.rejectedWith(
            "Expected transaction to be reverted with reason 'because', but it reverted with reason 'why not'"));
      });
    }

    it("view functions", async () => {
      await expect(vault.onlyIfPositive(0n)).to.be.revertedWith("not positive");
      await expect(vault.onlyIfPositive(1n)).to.be.revertedWithPanic(DIVISION);
      expect(await vault.onlyIfPositive(2n)).to.equal(2n);
    });

    it("plain payments", async () => {
      const to = await vault.getAddress();
      await expect(settled(owner.sendTransaction({ to, value: 5n }))).to.emit(vault, "Deposited").withArgs(owner.address, 5n, "");
      await expect(owner.call({ to, value: 0n })).to.be.revertedWithCustomError(vault, "Empty");
      if (refuses) await expect(settled(owner.sendTransaction({ to, value: 0n }))).to.be.revertedWithCustomError(vault, "Empty");
    });

    it("changeEtherBalance and changeEtherBalances", async () => {
      await expect(settled(owner.sendTransaction({ to: other, value: 200n }))).to.changeEtherBalance(...before, other, 200n);
      await expect(settled(owner.sendTransaction({ to: other, value: 200n }))).to.changeEtherBalances(...before, [owner, other], [-200n, 200n]);
      await expect(settled(vault.withdraw(300n))).to.changeEtherBalances(...before, [vault, owner], [-300n, 300n]);
      await expect(() => settled(vault.connect(other).deposit("", { value: 9n }))).to.changeEtherBalances(...before, [other, vault], [-9n, 9n]);
      const sent = await owner.sendTransaction({ to: other, value: 1n });
      const { fee } = await sent.wait();
      await expect(sent).to.changeEtherBalance(...before, owner, -1n - fee, { includeFee: true });
      await expect(expect(settled(owner.sendTransaction({ to: other, value: 200n }))).to.changeEtherBalance(...before, other, 201n)).to.be.rejectedWith(
        `Expected the ether balance of "${other.address}" to change by 201 wei, but it changed by 200 wei`);
    });

    it("changeTokenBalance and changeTokenBalances", async () => {
      await expect(settled(vault.transfer(other, 10n))).to.changeTokenBalance(...before, vault, other, 10n);
      await expect(settled(vault.transfer(other, 10n))).to.changeTokenBalances(...before, vault, [owner, other], [-10n, 10n]);
    });

    it("properAddress, properPrivateKey, properHex, hexEqual", async () => {
      expect(await vault.getAddress()).to.be.properAddress;
      expect("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80").to.be.properPrivateKey;
      expect((await (await vault.deposit("", { value: 1n })).wait()).blockHash).to.be.properHex(64);
      expect(await ethers.provider.send("eth_chainId", [])).to.hexEqual("0x007a69");
    });
  });
};
