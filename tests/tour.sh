#!/bin/sh
# A tour of an operator's day, on this machine and in a folder that is gone afterwards: tests/tour.sh [path of subnode]
# A node comes up; three chains are made on it, one is resized, one moves to a second node, one turns hostile, and `subnode top` shows it.
set -eu

subnode=$(realpath "${1:-target/release/subnode}")
tour=$(mktemp -d)
cd "$tour"
# What runs beside the script, and ends with it.
beside=""
trap 'kill $beside 2>/dev/null; wait; rm -rf "$tour"' EXIT

say() { printf '\n$ %s\n' "$*"; }
run() { say "subnode $*"; "$subnode" "$@"; }

cat >genesis.json <<'JSON'
{ "config": { "chainId": 7, "shanghaiTime": 0 }, "gasLimit": "0x1c9c380", "difficulty": "0x0",
  "alloc": { "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266": { "balance": "0xffffffffffffffffffff" },
             "0x00000000000000000000000000000000000c0de1": { "balance": "0x0", "code": "0x5b5f56" } } }
JSON
for node in here there; do
	mkdir $node
	printf 'data-dir = "data"\n[rpc]\nlisten = "127.0.0.1:0"\n' >$node/subnode.toml
	say "subnode run --config $node/subnode.toml &"
	"$subnode" run --config $node/subnode.toml 2>$node/log &
	beside="$beside $!"
	while ! grep -q ready $node/log; do
		kill -0 $! || { cat $node/log; exit 1; }
	done
done
export SUBNODE_SOCKET="$tour/here/data/subnode.sock"

for chain in alpha beta; do
	run chain create $chain --genesis genesis.json --slice small --sealing 1s
done
run chain create hostile --genesis genesis.json --slice test
run chain resize alpha --slice 8 --memory 1GiB
run chain export beta --output beta.subnode
SUBNODE_SOCKET="$tour/there/data/subnode.sock" run chain import beta beta.subnode --slice medium

say "a client asks hostile for what never ends, 100 times at once"
address=$(grep -o 'address=[0-9.:]*' here/log | cut -d= -f2) node -e '
const call = { jsonrpc: "2.0", id: 1, method: "eth_call", params: [{ to: "0x00000000000000000000000000000000000c0de1", gas: "0x2540be400" }, "latest"] };
const ask = () => fetch(`http://${process.env.address}/chain/hostile`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(call) })
	.then((answer) => answer.text()).catch(() => new Promise((later) => setTimeout(later, 100))).then(ask);
for (let one = 0; one < 100; one++) ask();' &
beside="$beside $!"
run top --once --interval 5
run health
run status
