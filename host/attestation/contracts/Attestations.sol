// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.30;

/// What a committee says about a block that it decided.
struct Attestation {
    bytes32 network;
    uint64 chain;
    bytes32 genesis;
    uint64 epoch;
    uint64 height;
    /// Keccak-256 of the block's id: EIP-712 has a member of type `bytes` by its hash.
    bytes32 blockIdHash;
    bytes32 outboxRoot;
    uint64 outboxCount;
    uint64 timeMs;
    /// The hash of an `Extra`.
    bytes32 extra;
}

/// What an attestation says beside its block and outbox, each 0 where there is nothing.
struct Extra {
    bytes32 delivered;
    bytes32 nextCommittee;
    bytes32 claims;
}

/// A signature as EIP-2098 has it: s with the parity of R's y in its highest bit.
struct Signature {
    bytes32 r;
    bytes32 vs;
}

/// A committee, and which of its members signed.
struct Signed {
    /// Keccak-256 of the members' node keys in order, as EIP-712 has a list: nothing here needs a single one.
    bytes32 keysHash;
    /// The members' attest addresses in order, a word each. Words are hashed as they come, without a look at each, which saves some 300
    /// gas a member; the committee's hash is of addresses and numbers of 64 bits, so no other words have it.
    uint256[] attesters;
    /// The members' powers in order, a word each.
    uint256[] powers;
    /// Bit i is set where member i signed.
    uint256 signers;
    /// Ascending by member.
    Signature[] signatures;
}

/// Verifies what committees of Subnode's chains say.
///
/// Whoever verifies trusts an anchor: the hash of a chain's name, an epoch, and the committee of that epoch. `anchor` makes it known here.
/// The hash stands for all of it, so nobody can put another committee in its place, and anybody may call it for anyone. From then on
/// `advance` learns the committee of each next epoch from an attestation of the one before. There is no owner, and nothing is ever
/// overwritten.
contract Attestations {
    bytes32 private constant DOMAIN = keccak256(
        abi.encode(keccak256("EIP712Domain(string name,string version)"), keccak256("Subnode attestation"), keccak256("1"))
    );
    bytes32 private constant ATTESTATION = keccak256(
        "Attestation(bytes32 network,uint64 chain,bytes32 genesis,uint64 epoch,uint64 height,bytes blockId,bytes32 outboxRoot,uint64 outboxCount,uint64 timeMs,bytes32 extra)"
    );
    bytes32 private constant EXTRA = keccak256("Extra(bytes32 delivered,bytes32 nextCommittee,bytes32 claims)");
    bytes32 private constant ANCHOR =
        keccak256("Anchor(bytes32 network,uint64 chain,bytes32 genesis,uint64 epoch,bytes32 committee)");
    bytes32 private constant COMMITTEE = keccak256("Committee(bytes32[] keys,address[] attesters,uint64[] powers)");

    /// A member's bit is in one word; a committee of Subnode has at most as many.
    uint256 private constant MEMBERS_MAX = 128;
    /// Half of the order of secp256k1's group: of the two s that check, the lower is taken (EIP-2).
    uint256 private constant S_MAX = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// By anchor, network, chain, genesis and epoch.
    mapping(bytes32 key => bytes32 committee) private committees;

    /// Whoever names `id` trusts this committee for this epoch.
    event Anchored(bytes32 indexed id, bytes32 network, uint64 chain, bytes32 genesis, uint64 epoch, bytes32 committee);
    /// The committee of an epoch was learned from an attestation of the one before.
    event Advanced(bytes32 indexed id, uint64 epoch, bytes32 committee);

    /// Nothing was anchored there, or no attestation brought this epoch's committee yet, or it is of another network, chain or genesis.
    error UnknownCommittee(bytes32 id, uint64 epoch);
    /// The signers' committee has another hash.
    error OtherCommittee(bytes32 given, bytes32 trusted);
    /// A committee has 1 to 128 members, with an attest address and a power each.
    error MemberCount(uint256 attesters, uint256 powers);
    /// A bit is set that is of no member.
    error NoSuchMember(uint256 signers);
    /// There are as many signatures as bits.
    error SignatureCount(uint256 count);
    /// The signature of a member is another's, of something else, or of nobody.
    error WrongSignature(uint256 member);
    /// Members with more than two thirds of the power have to sign.
    error TooLittlePower(uint256 power, uint256 total);
    /// These are not the parts that the attestation has the hash of.
    error OtherExtra(bytes32 given, bytes32 attested);
    /// The attestation names no committee for the next epoch.
    error NoNextCommittee();
    /// The committee of an epoch named two next ones.
    error TwoNextCommittees(bytes32 first, bytes32 second);
    /// It takes two attestations, of one network, chain, genesis and height.
    error NotDouble();
    /// Each attestation has a signer of its own.
    error OtherSigner(address one, address other);

    /// Makes the committee of an epoch known. The id stands for it, so a second call writes the same.
    function anchor(bytes32 network, uint64 chain, bytes32 genesis, uint64 epoch, bytes32 committee) external returns (bytes32 id) {
        id = keccak256(abi.encode(ANCHOR, network, chain, genesis, epoch, committee));
        committees[keyOf(id, network, chain, genesis, epoch)] = committee;
        emit Anchored(id, network, chain, genesis, epoch, committee);
    }

    /// The hash of an epoch's committee; 0 where it is not known.
    function committeeHash(bytes32 id, bytes32 network, uint64 chain, bytes32 genesis, uint64 epoch) external view returns (bytes32) {
        return committees[keyOf(id, network, chain, genesis, epoch)];
    }

    /// Learns the committee of the next epoch from an attestation. A second call with the same committee changes nothing.
    function advance(bytes32 id, Attestation calldata attestation, Extra calldata extra, Signed calldata signed) external {
        verify(id, attestation, signed);
        bytes32 root = keccak256(abi.encode(EXTRA, extra));
        if (root != attestation.extra) revert OtherExtra(root, attestation.extra);
        bytes32 next = extra.nextCommittee;
        if (next == 0) revert NoNextCommittee();
        uint64 epoch = attestation.epoch + 1;
        bytes32 key = keyOf(id, attestation.network, attestation.chain, attestation.genesis, epoch);
        bytes32 known = committees[key];
        if (known == next) return;
        if (known != 0) revert TwoNextCommittees(known, next);
        committees[key] = next;
        emit Advanced(id, epoch, next);
    }

    /// Reverts but where the committee that is known for the attestation's chain and epoch signed it. Returns what was signed.
    function verify(bytes32 id, Attestation calldata attestation, Signed calldata signed) public view returns (bytes32 digest) {
        bytes32 trusted =
            committees[keyOf(id, attestation.network, attestation.chain, attestation.genesis, attestation.epoch)];
        if (trusted == 0) revert UnknownCommittee(id, attestation.epoch);
        return verifyBy(trusted, attestation, signed);
    }

    /// The same for a committee whose hash the caller keeps. The caller sees for itself whether network, chain, genesis and epoch are
    /// those that this committee decides.
    function verifyBy(bytes32 trusted, Attestation calldata attestation, Signed calldata signed) public pure returns (bytes32 digest) {
        uint256[] calldata attesters = signed.attesters;
        uint256[] calldata powers = signed.powers;
        uint256 count = attesters.length;
        if (count == 0 || count > MEMBERS_MAX || powers.length != count) revert MemberCount(count, powers.length);
        bytes32 committee = keccak256(
            abi.encode(COMMITTEE, signed.keysHash, keccak256(abi.encodePacked(attesters)), keccak256(abi.encodePacked(powers)))
        );
        if (committee != trusted) revert OtherCommittee(committee, trusted);
        uint256 signers = signed.signers;
        if (signers >> count != 0) revert NoSuchMember(signers);

        digest = digestOf(attestation);
        Signature[] calldata signatures = signed.signatures;
        uint256 used;
        uint256 power;
        uint256 total;
        // No sum overflows: of at most 128 numbers of 64 bits.
        unchecked {
            for (uint256 member; member < count; ++member) {
                uint256 weight = uint64(powers[member]);
                total += weight;
                if ((signers >> member) & 1 == 0) continue;
                if (used == signatures.length) revert SignatureCount(used);
                address signer = recover(digest, signatures[used++]);
                if (signer == address(0) || signer != address(uint160(attesters[member]))) revert WrongSignature(member);
                power += weight;
            }
        }
        if (used != signatures.length) revert SignatureCount(signatures.length);
        if (power * 3 <= total * 2) revert TooLittlePower(power, total);
    }

    /// Whom two attestations of one height prove to have signed both; reverts where they prove nothing. Whether that is a member is for
    /// the caller to see: anybody can make such a proof against a key of its own.
    function double(
        Attestation calldata one,
        Signature calldata signature,
        Attestation calldata other,
        Signature calldata otherSignature
    ) external pure returns (address signer) {
        bool together = one.network == other.network && one.chain == other.chain && one.genesis == other.genesis
            && one.height == other.height;
        bytes32 digest = digestOf(one);
        bytes32 otherDigest = digestOf(other);
        if (!together || digest == otherDigest) revert NotDouble();
        signer = recover(digest, signature);
        address otherSigner = recover(otherDigest, otherSignature);
        if (signer == address(0) || signer != otherSigner) revert OtherSigner(signer, otherSigner);
    }

    /// What members sign.
    function digestOf(Attestation calldata attestation) public pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", DOMAIN, keccak256(abi.encode(ATTESTATION, attestation))));
    }

    function keyOf(bytes32 id, bytes32 network, uint64 chain, bytes32 genesis, uint64 epoch) private pure returns (bytes32) {
        return keccak256(abi.encode(id, network, chain, genesis, epoch));
    }

    /// 0 where it is nobody's.
    function recover(bytes32 digest, Signature calldata signature) private pure returns (address) {
        uint256 s = uint256(signature.vs) & (type(uint256).max >> 1);
        if (s > S_MAX) return address(0);
        return ecrecover(digest, uint8(27 + (uint256(signature.vs) >> 255)), signature.r, bytes32(s));
    }
}
