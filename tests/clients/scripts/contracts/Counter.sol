// SPDX-License-Identifier: MIT
pragma solidity ^0.8.0;

contract Counter {
    event Counted(address indexed by, uint256 count);

    error TooMany(uint256 asked);

    uint256 public count;

    function add(uint256 amount) external {
        if (amount > 100) revert TooMany(amount);
        require(amount > 0, "nothing to add");
        count += amount;
        emit Counted(msg.sender, count);
    }
}
