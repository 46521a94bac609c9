require("@nomicfoundation/hardhat-chai-matchers");
require("@nomicfoundation/hardhat-ethers");
require("@nomicfoundation/hardhat-viem");
require("@nomicfoundation/hardhat-ignition-ethers");
const { TASK_COMPILE_SOLIDITY_GET_SOLC_BUILD } = require("hardhat/builtin-tasks/task-names");

// The compiler of the npm package, in place of one that is downloaded.
subtask(TASK_COMPILE_SOLIDITY_GET_SOLC_BUILD, async ({ solcVersion }) => ({
  compilerPath: require.resolve("solc/soljson.js"),
  isSolcJs: true,
  version: solcVersion,
  longVersion: require("solc").version(),
}));

const url = process.env.HTTP_URL ?? "http://127.0.0.1:8545";

module.exports = {
  solidity: "0.8.30",
  // The plugins treat `localhost` unlike any other name.
  networks: { localhost: { url }, named: { url } },
};
