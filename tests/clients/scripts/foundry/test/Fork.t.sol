// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {Counter} from "../src/Counter.sol";

interface Vm {
    function createSelectFork(string calldata url) external returns (uint256);
    function createSelectFork(string calldata url, uint256 height) external returns (uint256);
    function createSelectFork(string calldata url, bytes32 transaction) external returns (uint256);
    function envAddress(string calldata name) external returns (address);
    function envBytes32(string calldata name) external returns (bytes32);
    function envString(string calldata name) external returns (string memory);
    function envUint(string calldata name) external returns (uint256);
    function expectRevert(bytes calldata data) external;
    function prank(address sender) external;
    function rollFork(uint256 height) external;
    function rpc(string calldata method, string calldata params) external returns (bytes memory);
}

/// Tests that run on top of a chain: COUNTER has 7 at its head, and had 3 at HEIGHT, before TRANSACTION.
contract ForkTest {
    Vm private constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    string private url;
    Counter private counter;

    function setUp() external {
        url = VM.envString("RPC_URL");
        counter = Counter(VM.envAddress("COUNTER"));
    }

    function testHead() external {
        VM.createSelectFork(url);
        require(counter.count() == 7, "seven at the head");
        counter.add(2);
        require(counter.count() == 9, "nine in the test");
        require(block.chainid == 31337, "the chain's id");
    }

    function testHeight() external {
        VM.createSelectFork(url, VM.envUint("HEIGHT"));
        require(counter.count() == 3, "three at the height");
        require(block.number == VM.envUint("HEIGHT"), "the height");
    }

    function testTransaction() external {
        VM.createSelectFork(url, VM.envBytes32("TRANSACTION"));
        require(counter.count() == 3, "three before the transaction");
    }

    function testRoll() external {
        VM.createSelectFork(url);
        VM.rollFork(VM.envUint("HEIGHT") - 1);
        require(counter.count() == 0, "none below the height");
    }

    function testRevert() external {
        VM.createSelectFork(url);
        VM.expectRevert("nothing to add");
        counter.add(0);
    }

    function testRpc() external {
        VM.createSelectFork(url);
        VM.rpc("evm_mine", "[]");
    }
}
