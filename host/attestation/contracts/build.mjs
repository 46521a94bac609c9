// Compiles Attestations.sol and prints the artefact, Attestations.json, with the npm package solc of the version named in the contract:
//   npm install --no-save solc@0.8.30 && node build.mjs > Attestations.json
// The bytecode has no metadata, so the same sources and settings give the same bytes anywhere. It is built for the rules of Paris,
// which every network of today knows.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
const solc = createRequire(process.argv[2] ?? import.meta.url)("solc");

const settings = {
  evmVersion: "paris",
  metadata: { appendCBOR: false, bytecodeHash: "none" },
  optimizer: { enabled: true, runs: 1000000 },
  viaIR: true,
};
const input = {
  language: "Solidity",
  sources: { "Attestations.sol": { content: readFileSync(new URL("Attestations.sol", import.meta.url), "utf8") } },
  settings: { ...settings, outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } } },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
const errors = (output.errors ?? []).map((error) => error.formattedMessage);
if (errors.length > 0) throw new Error(errors.join("\n"));
const { abi, evm } = output.contracts["Attestations.sol"].Attestations;
const artefact = {
  contract: "Attestations",
  compiler: solc.version(),
  settings,
  abi,
  bytecode: "0x" + evm.bytecode.object,
  deployedBytecode: "0x" + evm.deployedBytecode.object,
};
console.log(JSON.stringify(artefact, null, 2));
