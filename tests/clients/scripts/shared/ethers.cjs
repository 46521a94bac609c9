// Signers and contracts of hardhat-ethers, many sends at once, and listeners over a revert.

const ETHER = 10n ** 18n;

module.exports = ({ expect, ethers, helpers, send, url }) => {
  describe("ethers", () => {
    let before;
    beforeEach(async () => { before = await helpers.takeSnapshot(); });
    afterEach(() => before.restore());

    it("many sends of one account at once", async () => {
      const [, sender, to] = await ethers.getSigners();
      const nonce = await sender.getNonce();
      for (let round = 0; round < 10; round++) {
        const sent = await Promise.all(Array.from({ length: 8 }, (_, value) => sender.sendTransaction({ to, value })));
        const receipts = await Promise.all(sent.map((transaction) => transaction.wait()));
        expect(receipts.every((receipt) => receipt.status === 1)).to.equal(true);
        const nonces = sent.map((transaction) => transaction.nonce).sort((one, other) => one - other);
        expect(nonces).to.deep.equal(Array.from({ length: 8 }, (_, index) => nonce + round * 8 + index));
      }
    });

    it("many sends at once that wait for a block", async () => {
      const [, sender, to] = await ethers.getSigners();
      const nonce = await sender.getNonce();
      await send("evm_setAutomine", [false]);
      try {
        // Each is worth the same: only the order in which they came gives them different nonces.
        const one = () => send("eth_sendTransaction", [{ from: sender.address, to: to.address, value: "0x1", gas: "0x5208" }]);
        const hashes = await Promise.all(Array.from({ length: 20 }, one));
        expect(new Set(hashes).size).to.equal(20);
        expect(await sender.getNonce("pending")).to.equal(nonce + 20);
        await helpers.mine();
        expect(await sender.getNonce()).to.equal(nonce + 20);
        expect((await ethers.provider.getBlock("latest")).transactions).to.deep.equal(
          (await Promise.all(hashes.map((hash) => ethers.provider.getTransactionReceipt(hash)))).sort((one, other) => one.index - other.index).map(({ hash }) => hash));
      } finally {
        await send("evm_setAutomine", [true]);
      }
    });

    it("many deployments and calls at once", async () => {
      const vaults = await Promise.all(Array.from({ length: 5 }, () => ethers.deployContract("Vault")));
      const addresses = await Promise.all(vaults.map(async (vault) => (await vault.waitForDeployment()).getAddress()));
      expect(new Set(addresses).size).to.equal(5);
      await Promise.all(vaults.map(async (vault, index) => (await vault.deposit("", { value: BigInt(index + 1) })).wait()));
      expect(await Promise.all(vaults.map((vault) => vault.totalSupply()))).to.deep.equal([1n, 2n, 3n, 4n, 5n]);
    });

    it("a listener goes on hearing after a revert", async () => {
      // Of ethers itself: it installs a filter and asks for its changes.
      const provider = new ethers.JsonRpcProvider(url, await ethers.provider.getNetwork(), { staticNetwork: true, cacheTimeout: -1, pollingInterval: 20 });
      try {
        const signer = await provider.getSigner(0);
        const vault = (await ethers.deployContract("Vault")).connect(signer);
        const heard = [];
        // What a revert undid is told again, as removed.
        await vault.on("Deposited", (by, value, note, { log }) => log.removed || heard.push(value));
        let value = 0n;
        // The filter is installed in the background, and asked when the height has grown: deposits until two are heard.
        const hearTwo = async () => {
          const earlier = value;
          const own = () => heard.filter((value) => value > earlier);
          for (let sent = 0; own().length < 2 && sent < 50; sent++) {
            await (await vault.deposit("", { value: ++value })).wait();
            await new Promise((resolve) => provider.once("block", resolve) && setTimeout(resolve, 100));
          }
          expect(own().length).to.be.at.least(2);
          expect(own()).to.deep.equal(own().map((_, index) => own()[0] + BigInt(index)));
        };
        await hearTwo();
        const snapshot = await helpers.takeSnapshot();
        await hearTwo();
        await hearTwo();
        await snapshot.restore();
        await hearTwo();
        await vault.removeAllListeners();
      } finally {
        provider.destroy();
      }
    });

    it("hears over WebSocket", async () => {
      // Told which network it is: an event that came before ethers had asked would be an error of its own.
      const socket = new ethers.WebSocketProvider(url.replace("http", "ws"), await ethers.provider.getNetwork(), { staticNetwork: true });
      try {
        const [, other] = await ethers.getSigners();
        const vault = await ethers.deployContract("Vault");
        const heard = new Promise((resolve) => vault.connect(socket).once("Deposited", resolve));
        // The subscription is made in the background: deposits until one is heard.
        const pause = () => new Promise((resolve) => setTimeout(resolve, 100));
        let by;
        for (let sent = 0; !by && sent < 50; sent++) {
          await (await vault.connect(other).deposit("", { value: 1n })).wait();
          by = await Promise.race([heard, pause()]);
        }
        expect(by).to.equal(other.address);
      } finally {
        // `destroy` would refuse the end of the subscription, which is still on its way.
        socket.websocket.close();
      }
    });

    it("a filter goes on after a revert", async () => {
      const vault = await ethers.deployContract("Vault");
      const address = await vault.getAddress();
      const filter = await send("eth_newFilter", [{ address }]);
      const blocks = await send("eth_newBlockFilter");
      const changes = (id) => send("eth_getFilterChanges", [id]);
      const values = (logs) => logs.filter(({ removed, topics }) => !removed && topics[0] === vault.interface.getEvent("Deposited").topicHash)
        .map((log) => vault.interface.parseLog(log).args.value);
      await (await vault.deposit("", { value: 1n })).wait();
      expect(values(await changes(filter))).to.deep.equal([1n]);
      expect(await changes(blocks)).to.include((await ethers.provider.getBlock("latest")).hash);
      const snapshot = await helpers.takeSnapshot();
      for (const value of [2n, 3n, 4n]) await (await vault.deposit("", { value })).wait();
      expect(values(await changes(filter))).to.deep.equal([2n, 3n, 4n]);
      expect(await changes(blocks)).to.have.length(3);
      await snapshot.restore();
      await (await vault.deposit("", { value: 5n })).wait();
      expect(values(await changes(filter))).to.deep.equal([5n]);
      expect(await changes(blocks)).to.include((await ethers.provider.getBlock("latest")).hash);
      expect(await changes(filter)).to.deep.equal([]);
    });

    it("refuses what cannot be paid", async () => {
      const poor = ethers.Wallet.createRandom(ethers.provider);
      await expect(poor.sendTransaction({ to: poor, value: ETHER })).to.be.rejectedWith(/insufficient funds|doesn't have enough funds/i);
      const [owner] = await ethers.getSigners();
      await expect(owner.sendTransaction({ to: poor, value: ETHER * 10n ** 9n })).to.be.rejectedWith(/insufficient funds|doesn't have enough funds/i);
      await expect(owner.sendTransaction({ to: poor, nonce: 10_000 + (await owner.getNonce()), gasLimit: 1000n })).to.be.rejected;
    });

    it("signs messages and typed data", async () => {
      const [owner] = await ethers.getSigners();
      expect(ethers.verifyMessage("hello", await owner.signMessage("hello"))).to.equal(owner.address);
      const domain = { name: "Vault", version: "1", chainId: 31337n, verifyingContract: owner.address };
      const types = { Permit: [{ name: "to", type: "address" }, { name: "value", type: "uint256" }] };
      const value = { to: owner.address, value: 7n };
      expect(ethers.verifyTypedData(domain, types, value, await owner.signTypedData(domain, types, value))).to.equal(owner.address);
    });
  });
};
