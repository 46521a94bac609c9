// hardhat-ignition: a module with deployments, calls, reads and a plain payment.
const { rmSync } = require("node:fs");
const path = require("node:path");
const { expect } = require("chai");
const { config, ethers, ignition } = require("hardhat");
const { buildModule } = require("@nomicfoundation/hardhat-ignition/modules");
const vaultModule = require("../../shared/vault_module.cjs")(buildModule);

describe("ignition", () => {
  // Its journal of a network is kept in the project; a chain that is new has none.
  const deploymentId = `of-process-${process.pid}`;
  const forget = () => rmSync(path.join(config.paths.ignition, "deployments", deploymentId), { recursive: true, force: true });
  beforeEach(forget);
  afterEach(forget);

  it("deploys a module", async () => {
    const [owner, other] = await ethers.getSigners();
    const { vault, other: second } = await ignition.deploy(vaultModule, { deploymentId, parameters: { VaultModule: { note: "told" } } });
    expect(await vault.balanceOf(other)).to.equal(4n);
    expect(await vault.balanceOf(owner)).to.equal(16n);
    expect(await second.totalSupply()).to.equal(10n);
    const [deposited] = await vault.queryFilter("Deposited");
    expect(deposited.args.note).to.equal("told");
    // Once more is nothing to do: the journal and the chain agree.
    const height = await ethers.provider.getBlockNumber();
    const again = await ignition.deploy(vaultModule, { deploymentId, parameters: { VaultModule: { note: "told" } } });
    expect(await again.vault.getAddress()).to.equal(await vault.getAddress());
    expect(await ethers.provider.getBlockNumber()).to.equal(height);
  });

  it("tells what reverts", async () => {
    const failing = buildModule("Failing", (m) => {
      const vault = m.contract("Vault");
      m.call(vault, "failWithReason", ["no deployment"]);
      return { vault };
    });
    await expect(ignition.deploy(failing, { deploymentId })).to.be.rejectedWith("no deployment");
  });
});
