import { createRequire } from "node:module";
import { expect } from "chai";
import { network } from "hardhat";
import * as withArgs from "@nomicfoundation/hardhat-ethers-chai-matchers/withArgs";

const { ethers, networkConfig, networkHelpers, provider } = await network.create();

const kit = {
  expect,
  ethers,
  helpers: networkHelpers,
  send: (method, params = []) => provider.request({ method, params }),
  url: await networkConfig.url.getUrl(),
  matchers: { ...withArgs, before: [ethers], reverted: (assertion) => assertion.revert(ethers) },
  answersMined: process.env.ANSWERS !== "pooled",
  // Whether a transaction that fails is refused.
  refuses: true,
};

const require = createRequire(import.meta.url);
for (const suite of ["ethers", "helpers", "matchers"]) require(`../../../shared/${suite}.cjs`)(kit);
