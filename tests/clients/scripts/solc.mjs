#!/usr/bin/env node
// The compiler of the npm package, with the part of solc's command line that forge uses. Without arguments, compiles
// contracts/Counter.sol to Counter.json.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
const solc = createRequire(import.meta.url)("solc");

const args = process.argv.slice(2);
if (args.includes("--version")) {
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${solc.version().replace(".Emscripten.clang", ".Linux.g++")}`);
} else if (args.includes("--standard-json")) {
  process.stdout.write(solc.compile(readFileSync(0, "utf8")));
} else {
  const here = new URL(".", import.meta.url);
  const input = {
    language: "Solidity",
    sources: { "Counter.sol": { content: readFileSync(new URL("contracts/Counter.sol", here), "utf8") } },
    settings: { outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } } },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  if (!output.contracts) throw new Error(JSON.stringify(output.errors));
  const { abi, evm } = output.contracts["Counter.sol"].Counter;
  writeFileSync(new URL("Counter.json", here), JSON.stringify({ abi, bytecode: "0x" + evm.bytecode.object }));
}
