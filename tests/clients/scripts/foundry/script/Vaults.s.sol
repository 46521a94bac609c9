// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {Vault} from "../src/Vault.sol";

interface Vm {
    function startBroadcast(uint256 key) external;
    function stopBroadcast() external;
    function addr(uint256 key) external returns (address);
    function envUint(string calldata name) external returns (uint256);
}

/// Two accounts send, one vault has an address of its own choice.
contract Vaults {
    Vm private constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint256 private constant FIRST = 0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80;
    uint256 private constant SECOND = 0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d;

    function run() external {
        VM.startBroadcast(FIRST);
        Vault plain = new Vault();
        Vault chosen = new Vault{salt: bytes32(VM.envUint("SALT"))}();
        plain.deposit{value: 1 ether}("by the first");
        VM.stopBroadcast();
        VM.startBroadcast(SECOND);
        for (uint256 index = 1; index <= 5; index++) chosen.deposit{value: index}("by the second");
        chosen.transfer(address(plain), 5);
        (bool paid, ) = address(plain).call{value: 2 ether}("");
        require(paid, "not paid");
        VM.stopBroadcast();
        require(chosen.balanceOf(VM.addr(SECOND)) == 10, "ten are left");
    }
}
