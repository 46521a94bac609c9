import { createRequire } from "node:module";
import ethers from "@nomicfoundation/hardhat-ethers";
import matchers from "@nomicfoundation/hardhat-ethers-chai-matchers";
import ignition from "@nomicfoundation/hardhat-ignition-viem";
import mocha from "@nomicfoundation/hardhat-mocha";
import helpers from "@nomicfoundation/hardhat-network-helpers";
import nodeTestRunner from "@nomicfoundation/hardhat-node-test-runner";
import viem from "@nomicfoundation/hardhat-viem";
import assertions from "@nomicfoundation/hardhat-viem-assertions";

const url = process.env.HTTP_URL ?? "http://127.0.0.1:8545";

export default {
  plugins: [ethers, matchers, helpers, ignition, mocha, nodeTestRunner, viem, assertions],
  // The compiler of the npm package, in place of one that is downloaded.
  solidity: { version: "0.8.30", path: createRequire(import.meta.url).resolve("solc/soljson.js") },
  paths: { tests: { mocha: "test/ethers", nodejs: "test/viem" } },
  networks: { localhost: { type: "http", url }, named: { type: "http", url } },
};
