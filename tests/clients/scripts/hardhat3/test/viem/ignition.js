// hardhat-ignition: a module with deployments, calls, reads and a plain payment.
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { config, network } from "hardhat";
import { buildModule } from "@nomicfoundation/hardhat-ignition/modules";
import describeVault from "../../../shared/vault_module.cjs";

const vaultModule = describeVault(buildModule);
const { ignition, viem } = await network.create();

describe("ignition", () => {
  // Its journal of a network is kept in the project; a chain that is new has none.
  const deploymentId = `of-process-${process.pid}`;
  const forget = () => rmSync(path.join(config.paths.ignition, "deployments", deploymentId), { recursive: true, force: true });
  beforeEach(forget);
  afterEach(forget);

  it("deploys a module", async () => {
    const [owner, other] = await viem.getWalletClients();
    const reader = await viem.getPublicClient();
    const deploy = () => ignition.deploy(vaultModule, { deploymentId, parameters: { VaultModule: { note: "told" } } });
    const { vault, other: second } = await deploy();
    assert.equal(await vault.read.balanceOf([other.account.address]), 4n);
    assert.equal(await vault.read.balanceOf([owner.account.address]), 16n);
    assert.equal(await second.read.totalSupply(), 10n);
    const [deposited] = await vault.getEvents.Deposited({}, { fromBlock: 0n });
    assert.equal(deposited.args.note, "told");
    // Once more is nothing to do: the journal and the chain agree.
    const height = await reader.getBlockNumber({ cacheTime: 0 });
    assert.equal((await deploy()).vault.address, vault.address);
    assert.equal(await reader.getBlockNumber({ cacheTime: 0 }), height);
  });

  it("tells what reverts", async () => {
    const failing = buildModule("Failing", (m) => {
      const vault = m.contract("Vault");
      m.call(vault, "failWithReason", ["no deployment"]);
      return { vault };
    });
    await assert.rejects(ignition.deploy(failing, { deploymentId }), /no deployment/);
  });
});
