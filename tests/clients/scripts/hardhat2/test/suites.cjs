const { expect } = require("chai");
const { ethers, network } = require("hardhat");
const helpers = require("@nomicfoundation/hardhat-network-helpers");
const withArgs = require("@nomicfoundation/hardhat-chai-matchers/withArgs");

const kit = {
  expect,
  ethers,
  helpers,
  send: (method, params) => network.provider.send(method, params),
  url: network.config.url,
  matchers: { ...withArgs, before: [], reverted: (assertion) => assertion.be.reverted },
  answersMined: process.env.ANSWERS !== "pooled",
  // Whether a transaction that fails is refused; on the network of this name hardhat-ethers gives each the gas of a block.
  refuses: process.env.ANSWERS !== "pooled" || network.name !== "localhost",
};

for (const suite of ["ethers", "helpers", "matchers"]) require(`../../shared/${suite}.cjs`)(kit);
