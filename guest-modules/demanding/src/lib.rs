//! A runtime for tests of the host. Each query asks as much as it can of one host function, over and over until its
//! fuel is spent. The method of a query names the function.

use std::io::Write;

use subnode_sdk::runtime::{
    Action, Admission, Answer, Attributes, BlockRef, Built, Change, Invalid, Outcome, RpcError, Runtime, Table,
    crypto::{self, Word256},
    host, keys, pool, state,
};

/// Rows of the state table that reads and scans find.
const ROWS: u32 = 4096;
const ROW_BYTES: usize = 512;
/// What the keys of long rows begin with.
const LONG_KEY: &[u8] = b"s";
const LONG_ROWS: u8 = 3;
const LONG_ROW_BYTES: usize = 1 << 20;
/// Bytes that are hashed at once. Filling this new memory is a single instruction, which takes 2 ms.
const TEXT_BYTES: usize = 4 << 20;

fn word(byte: u8) -> Word256 {
    let part = u64::from_le_bytes([byte; 8]);
    Word256 { a: part, b: part, c: part, d: part }
}

fn row_key(row: u32) -> Vec<u8> {
    [b"row", row.to_be_bytes().as_slice()].concat()
}

/// A signature that recovers to some key: of small numbers, most are the x of a point.
fn recovery(index: usize) -> crypto::Recovery {
    let small = |number: u8| Word256 { a: 0, b: 0, c: 0, d: u64::from(number) << 56 };
    crypto::Recovery { digest: word(index as u8), r: small(1 + (index % 4) as u8), s: small(7), odd: false }
}

/// The generators of the groups, in the encodings of wit/crypto.wit.
mod point {
    fn hex(digits: &str) -> Vec<u8> {
        let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
        digits.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
    }

    fn padded(len: usize, number: u8) -> Vec<u8> {
        let mut bytes = vec![0; len];
        bytes[len - 1] = number;
        bytes
    }

    pub fn bn254_g1() -> Vec<u8> {
        [padded(32, 1), padded(32, 2)].concat()
    }

    pub fn bn254_g2() -> Vec<u8> {
        hex(concat!(
            "198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2",
            "1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed",
            "090689d0585ff075ec9e99ad690c3395bc4b313370b38ef355acdadcd122975b",
            "12c85ea5db8c6deb4aab71808dcb408fe3d1e7690c43d37b4ce6cc0166fa7daa",
        ))
    }

    pub fn bls_g1() -> Vec<u8> {
        hex(concat!(
            "17f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb",
            "08b3f481e3aaa0f1a09e30ed741d8ae4fcf5e095d5d00af600db18cb2c04b3edd03cc744a2888ae40caa232946c5e7e1",
        ))
    }

    pub fn bls_g2() -> Vec<u8> {
        hex(concat!(
            "024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8",
            "13e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e",
            "0ce5d527727d6e118cc9cdc6da2e351aadfd9baa8cbdd3a76d429a695160d12c923ac9cc3baca289e193548608b82801",
            "0606c4a02ea734cc32acd2b02bc28b99cb3e287e85a763af267492ab572e99ab3f370d275cec1da1aaa9075ff05f79be",
        ))
    }
}

/// Repeats a call for ever.
fn forever<T>(mut demand: impl FnMut() -> T) -> ! {
    loop {
        std::hint::black_box(demand());
    }
}

fn demand(method: &str) -> Result<Answer, RpcError> {
    match method {
        "keccak256" => {
            let text = vec![7; TEXT_BYTES];
            forever(|| crypto::keccak256(&text))
        }
        // As the EVM contract that hashes 32 KiB over and over.
        "keccak256-pieces" => {
            let text = vec![7; 32 << 10];
            forever(|| crypto::keccak256(&text))
        }
        "keccak256-word" => forever(|| crypto::keccak256_word(word(7))),
        "keccak256-pair" => forever(|| crypto::keccak256_pair(word(7), word(8))),
        "keccak256-many" => {
            let texts = vec![vec![7; 256]; TEXT_BYTES / 256];
            forever(|| crypto::keccak256_many(&texts))
        }
        "keccak256-many-long" => {
            let texts = vec![vec![7; TEXT_BYTES / 2]; 2];
            forever(|| crypto::keccak256_many(&texts))
        }
        "sha256" => {
            let text = vec![7; TEXT_BYTES];
            forever(|| crypto::sha256(&text))
        }
        "recover" => {
            assert!((0..4).any(|index| crypto::recover(recovery(index)).is_some()), "the test's signatures recover to nothing");
            forever(|| crypto::recover(recovery(0)))
        }
        "recover-many" => {
            let items: Vec<_> = (0..1_000).map(recovery).collect();
            forever(|| crypto::recover_many(&items))
        }
        "verify-p256" => forever(|| crypto::verify_p256(&[1; 32], &[2; 64], &[3; 64])),
        "verify-ed25519" => {
            let message = vec![7; 512 << 10];
            forever(|| crypto::verify_ed25519(&message, &[1; 64], &[2; 32]))
        }
        "modexp" => {
            let number = vec![0xfd; 512];
            forever(|| crypto::modexp(&vec![0xab; 512], &number, &number))
        }
        "modexp-even" => {
            let number = vec![0xfe; 512];
            forever(|| crypto::modexp(&vec![0xab; 512], &number, &number))
        }
        "modexp-of-a-power-of-two" => {
            let modulus = [vec![0x80], vec![0; 2_303]].concat();
            forever(|| crypto::modexp(&vec![0xfd; 2_304], &[3], &modulus))
        }
        "modexp-long" => {
            let number = vec![0xfd; 10_000];
            forever(|| crypto::modexp(&vec![0xab; 10_000], &[3], &number))
        }
        "modexp-long-exponent" => {
            let exponent = vec![0xff; 60_000];
            forever(|| crypto::modexp(&[2], &exponent, &[7]))
        }
        "bn254-add" => {
            let point = point::bn254_g1();
            forever(|| crypto::bn254_add(&point, &point))
        }
        "bn254-mul" => {
            let point = point::bn254_g1();
            forever(|| crypto::bn254_mul(&point, &[0xff; 32]))
        }
        "bn254-pairing" => {
            let pairs = [point::bn254_g1(), point::bn254_g2()].concat().repeat(50);
            assert_eq!(crypto::bn254_pairing(&pairs), Some(false));
            forever(|| crypto::bn254_pairing(&pairs))
        }
        "bls-g1-add" => {
            let point = point::bls_g1();
            forever(|| crypto::bls_g1_add(&point, &point))
        }
        "bls-g2-add" => {
            let point = point::bls_g2();
            forever(|| crypto::bls_g2_add(&point, &point))
        }
        "bls-g1-msm" => {
            let items = [point::bls_g1(), vec![0xfe; 32]].concat().repeat(400);
            assert!(crypto::bls_g1_msm(&items).is_some());
            forever(|| crypto::bls_g1_msm(&items))
        }
        "bls-g2-msm" => {
            let items = [point::bls_g2(), vec![0xfe; 32]].concat().repeat(200);
            assert!(crypto::bls_g2_msm(&items).is_some());
            forever(|| crypto::bls_g2_msm(&items))
        }
        "bls-pairing" => {
            let pairs = [point::bls_g1(), point::bls_g2()].concat().repeat(40);
            assert_eq!(crypto::bls_pairing(&pairs), Some(false));
            forever(|| crypto::bls_pairing(&pairs))
        }
        "bls-map-g1" => forever(|| crypto::bls_map_g1(&[1; 48])),
        "bls-map-g2" => forever(|| crypto::bls_map_g2(&[1; 96])),
        // Of the point at infinity, so that both pairings are computed.
        "verify-kzg" => {
            let infinity = [&[0xc0], [0; 47].as_slice()].concat();
            assert!(crypto::verify_kzg(&[0; 32], &[0; 32], &infinity, &infinity));
            let generator = [&[0x97], &point::bls_g1()[1..48]].concat();
            forever(|| crypto::verify_kzg(&[0; 32], &[1; 32], &generator, &generator))
        }
        "get" => {
            let key = row_key(0);
            forever(|| state::get(Table::State, &key))
        }
        "get-part" => {
            let key = row_key(0);
            forever(|| state::get_part(Table::State, &key, 0, 1))
        }
        "get-many" => {
            let keys: Vec<_> = (0..ROWS).map(row_key).collect();
            assert!(state::get_many(Table::State, &keys).iter().all(Option::is_some));
            forever(|| state::get_many(Table::State, &keys))
        }
        "scan" => {
            assert_eq!(state::scan(Table::State, b"row", None, ROWS).len(), ROWS as usize);
            forever(|| state::scan(Table::State, b"row", None, ROWS))
        }
        "seek" => forever(|| state::seek(0)),
        "pool-all" => forever(|| pool::all(4096)),
        "pool-by-sender" => forever(|| pool::by_sender(b"sender", 4096)),
        "pool-since" => forever(|| pool::since(0)),
        "pool-get" => forever(|| pool::get(b"id")),
        "status" => forever(host::status),
        "accounts" => forever(keys::accounts),
        "sign" => {
            let account = keys::accounts().into_iter().next().unwrap_or_default();
            forever(|| keys::sign(&account, word(7)))
        }
        "cursor" => forever(|| host::cursor(1)),
        "wasi-clock" => forever(std::time::SystemTime::now),
        "get-of-a-long-row" => forever(|| state::get(Table::State, LONG_KEY)),
        "get-part-of-a-long-row" => forever(|| state::get_part(Table::State, LONG_KEY, 0, 1)),
        "scan-of-long-rows" => forever(|| state::scan(Table::State, LONG_KEY, None, 3)),
        "wasi-output" => {
            let text = vec![b'x'; 4096];
            forever(|| std::io::stdout().write_all(&text))
        }
        "loop" => forever(|| ()),
        _ => Err(RpcError { code: -32601, message: format!("no method {method}"), data: None }),
    }
}

/// The time that WASI's clock shows. `build` and `execute` return it as their error.
fn time() -> String {
    format!("{:?}", std::time::SystemTime::now())
}

struct Demanding;

impl Runtime for Demanding {
    fn genesis(_spec: Vec<u8>) -> Result<Built, String> {
        let short = (0..ROWS).map(|row| Change { key: row_key(row), value: Some(vec![7; ROW_BYTES]) });
        let long = |row: u8| Change { key: [LONG_KEY, &[row][..usize::from(row > 0)]].concat(), value: Some(vec![row; LONG_ROW_BYTES]) };
        let state = short.chain((0..LONG_ROWS).map(long)).collect();
        let block = BlockRef { height: 0, id: vec![7; 32], timestamp_ms: 0 };
        let outcome = Outcome { block, transactions: 0, committee: None, state, index: Vec::new(), progress: Vec::new() };
        Ok(Built { block: b"genesis".to_vec(), outcome })
    }

    /// Takes anything, all from one sender.
    fn admit(_head: BlockRef, transactions: Vec<Vec<u8>>) -> Vec<Result<Admission, RpcError>> {
        let admission = |transaction: &Vec<u8>| Admission {
            id: transaction[..32].to_vec(),
            sender: b"sender".to_vec(),
            sequence: u64::from_be_bytes(std::array::from_fn(|i| transaction[i])),
            next_sequence: 0,
            priority: 0,
            cap: 0,
        };
        transactions.iter().map(|transaction| Ok(admission(transaction))).collect()
    }

    fn build(_parent: BlockRef, _attributes: Attributes) -> Result<Built, Invalid> {
        Err(Invalid { reason: time() })
    }

    fn execute(_parent: BlockRef, _block: Vec<u8>) -> Result<Outcome, Invalid> {
        Err(Invalid { reason: time() })
    }

    fn query(_head: BlockRef, method: String, params: Vec<u8>) -> Result<Answer, RpcError> {
        if method == "send" {
            return Ok(Answer { json: None, action: Some(Action::Submit(params)) });
        }
        demand(&method)
    }
}

subnode_sdk::runtime!(Demanding);
