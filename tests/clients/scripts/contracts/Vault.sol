// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// Shares of ether: a token whose calls fail in each of the ways that Solidity has.
contract Vault {
    event Transfer(address indexed from, address indexed to, uint256 value);
    event Deposited(address indexed by, uint256 value, string note);

    error Empty();
    error TooLittle(address who, uint256 has, uint256 wants);

    string public constant name = "Share of a vault";
    string public constant symbol = "SHARE";
    uint8 public constant decimals = 18;
    mapping(address => uint256) public balanceOf;
    uint256 public totalSupply;
    uint256[] private none;

    receive() external payable {
        deposit("");
    }

    function deposit(string memory note) public payable {
        if (msg.value == 0) revert Empty();
        balanceOf[msg.sender] += msg.value;
        totalSupply += msg.value;
        emit Transfer(address(0), msg.sender, msg.value);
        emit Deposited(msg.sender, msg.value, note);
    }

    function transfer(address to, uint256 value) external returns (bool) {
        take(value);
        balanceOf[to] += value;
        emit Transfer(msg.sender, to, value);
        return true;
    }

    function withdraw(uint256 value) external {
        take(value);
        totalSupply -= value;
        emit Transfer(msg.sender, address(0), value);
        (bool paid, ) = msg.sender.call{value: value}("");
        require(paid, "not taken");
    }

    function take(uint256 value) private {
        uint256 has = balanceOf[msg.sender];
        if (has < value) revert TooLittle(msg.sender, has, value);
        balanceOf[msg.sender] = has - value;
    }

    function onlyIfPositive(uint256 value) external view returns (uint256) {
        require(value > 0, "not positive");
        return value / (value - 1) + none.length;
    }

    function failSilently() external {
        totalSupply = 0;
        revert();
    }

    function failWithReason(string calldata reason) external {
        totalSupply = 0;
        revert(reason);
    }

    function failAssertion() external {
        totalSupply = 0;
        assert(totalSupply != 0);
    }

    function divideBy(uint256 divisor) external {
        totalSupply = 1 / divisor;
    }

    function item(uint256 index) external {
        totalSupply = none[index];
    }

    function tooLate(uint256 deadline) external {
        require(block.timestamp <= deadline, "too late");
        totalSupply = totalSupply;
    }
}
