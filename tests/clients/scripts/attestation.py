"""python attestation.py ANCHOR FILE...

Verifies what `subnode attestation show --json` prints, by an anchor that the caller trusts.
"""

import json
import sys

from eth_account import Account
from eth_account.messages import encode_typed_data

HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
DOMAIN = {"name": "Subnode attestation", "version": "1"}
TYPES = {
    "Anchor": "bytes32 network,uint64 chain,bytes32 genesis,uint64 epoch,bytes32 committee",
    "Attestation": "bytes32 network,uint64 chain,bytes32 genesis,uint64 epoch,uint64 height,bytes blockId,"
    "bytes32 outboxRoot,uint64 outboxCount,uint64 timeMs,bytes32 extra",
    "Committee": "bytes32[] keys,address[] attesters,uint64[] powers",
    "Extra": "bytes32 delivered,bytes32 nextCommittee,bytes32 claims",
}


def typed(name, value):
    fields = [dict(zip(("type", "name"), field.split())) for field in TYPES[name].split(",")]
    number = lambda field: int(value[field["name"]]) if field["type"] == "uint64" else value[field["name"]]
    return encode_typed_data(DOMAIN, {name: fields}, {field["name"]: number(field) for field in fields})


def struct_hash(name, value):
    return "0x" + typed(name, value).body.hex()


def check(holds, reason):
    if not holds:
        raise ValueError(reason)


def verify(signed, anchor):
    """Returns the anchor of the next epoch, where the attestation names its committee."""
    attestation, committee = signed["attestation"], signed["committee"]
    attesters, powers = [member["attester"] for member in committee], [int(member["power"]) for member in committee]
    lists = {"keys": [member["key"] for member in committee], "attesters": attesters, "powers": powers}
    given = struct_hash("Anchor", {**attestation, "committee": struct_hash("Committee", lists)})
    check(given == anchor, "another chain, epoch or committee")
    check(struct_hash("Extra", signed["extra"]) == attestation["extra"], "another extra")
    message, last, power = typed("Attestation", attestation), -1, 0
    for one in signed["signatures"]:
        member, signature = one["member"], bytes.fromhex(one["signature"][2:])
        check(last < member < len(committee), f"member {member} is out of order")
        check(len(signature) == 65 and signature[64] in (27, 28), f"the signature of member {member} is not r, s, v")
        check(int.from_bytes(signature[32:64], "big") <= HALF_ORDER, f"the signature of member {member} has a high s")
        signer = Account.recover_message(message, signature=signature)
        check(signer.lower() == attesters[member].lower(), f"the signature of member {member} is another's")
        last, power = member, power + powers[member]
    check(power * 3 > sum(powers) * 2, f"signed by {power} of {sum(powers)}, which is not more than two thirds")
    following = {**attestation, "epoch": int(attestation["epoch"]) + 1, "committee": signed["extra"]["nextCommittee"]}
    return struct_hash("Anchor", following) if int(following["committee"], 16) else "none"


refused = 0
for file in sys.argv[2:]:
    try:
        with open(file) as opened:
            document = json.load(opened)
        following = verify(document, sys.argv[1])
        print("valid: block {blockId} at height {height}, next anchor".format(**document["attestation"]), following)
    except Exception as error:
        print("refused:", str(error).split("\n")[0])
        refused += 1
sys.exit(refused > 0)
