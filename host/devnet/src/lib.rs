//! Ethereum chains inside a test: no port, no file, nothing left behind.
//!
//! ```no_run
//! # async fn test() -> Result<(), Box<dyn std::error::Error>> {
//! use alloy::{network::TransactionBuilder, primitives::U256, providers::Provider, rpc::types::TransactionRequest};
//! use subnode_devnet::Devnet;
//!
//! let net = Devnet::builder().chains(3).spawn().await?;
//! let chain = net.chain(0);
//! let provider = chain.provider();
//! let to = chain.accounts()[1].address;
//! let receipt = provider
//!     .send_transaction(TransactionRequest::default().with_to(to).with_value(U256::from(1)))
//!     .await?
//!     .get_receipt()
//!     .await?;
//! assert!(receipt.status());
//! # Ok(())
//! # }
//! ```
//!
//! A chain's clock stands at its genesis until a test moves it (`evm_increaseTime`), so that a test gives the same
//! blocks whenever it runs. The builder can ask for the machine's clock instead. Each block is at least a second after
//! its parent.
//!
//! Dropping the [`Devnet`] ends its chains. All devnets that live in a process at the same time share compiled modules.
//! Compiled modules are also kept in the user's cache folder, because compiling the EVM takes a second.
//!
//! Not here: durable chains and the command line (`cli`).

mod accounts;
mod builder;
mod genesis;
mod net;
mod outline;
mod provider;

pub use accounts::{Account, AccountsError, DEFAULT_MNEMONIC, Signers, accounts};
pub use builder::{Builder, DEV_CLIENT_VERSION, DevnetError, default_options, module_cache_dir};
pub use genesis::{DEPLOYER_ADDRESS, DevGenesis, Hardfork, adopt, adopt_file};
pub use net::{DevChain, Devnet};
pub use provider::{ChainTransport, DevProvider};
