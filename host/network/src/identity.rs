//! A node's ed25519 key: what it is known by, and what its connections are secured with. TLS has it as a raw public key (RFC 7250), so
//! there are no certificates to issue, to renew, or to expire.

use std::{fmt, sync::Arc};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rand::{TryRngCore, rngs::OsRng};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error as TlsError, PeerIncompatible, SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::{
        AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};
use subnode_types::NodeId;

/// Of an ed25519 private key in PKCS #8 (RFC 8410), before its 32 bytes.
const PRIVATE_PREFIX: [u8; 16] = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// Of an ed25519 public key as SubjectPublicKeyInfo (RFC 8410), before its 32 bytes.
const PUBLIC_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Both sides speak this, or none.
const PROTOCOL: &[u8] = b"subnode";

/// A node's key. Its secret is never printed.
#[derive(Clone)]
pub struct NodeKey {
    key: Arc<CertifiedKey>,
    id: NodeId,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.id)
    }
}

/// The key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("node key: {0}")]
pub struct KeyError(String);

impl NodeKey {
    /// The key of these 32 secret bytes.
    ///
    /// # Errors
    /// Where the cryptography library refuses it.
    pub fn from_secret(secret: [u8; 32]) -> Result<Self, KeyError> {
        let refused = |error: TlsError| KeyError(error.to_string());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from([PRIVATE_PREFIX.as_slice(), &secret].concat()));
        let key = provider.key_provider.load_private_key(der).map_err(refused)?;
        let public = key.public_key().ok_or_else(|| KeyError("it has no public key".into()))?;
        let id = id_of(&public).ok_or_else(|| KeyError("it is not an ed25519 key".into()))?;
        let key = Arc::new(CertifiedKey::new(vec![CertificateDer::from(public.to_vec())], key));
        Ok(Self { key, id, provider })
    }

    /// 32 secret bytes for a new key.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub fn new_secret() -> Result<[u8; 32], KeyError> {
        let mut secret = [0; 32];
        OsRng.try_fill_bytes(&mut secret).map_err(|error| KeyError(error.to_string()))?;
        Ok(secret)
    }

    /// What others know it by.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// QUIC's configuration of a node that is called.
    ///
    /// # Errors
    /// Where the cryptography library refuses it.
    pub fn server(&self) -> Result<QuicServerConfig, KeyError> {
        let refused = |error: TlsError| KeyError(error.to_string());
        let mut config = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(refused)?
            .with_client_cert_verifier(Arc::new(Verifier::new(&self.provider, None)))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(self.key.clone())));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        // A session that is resumed would not prove its key anew, and early data can be replayed.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        QuicServerConfig::try_from(config).map_err(|error| KeyError(error.to_string()))
    }

    /// QUIC's configuration of a call to one node and no other.
    ///
    /// # Errors
    /// Where the cryptography library refuses it.
    pub fn client(&self, to: NodeId) -> Result<QuicClientConfig, KeyError> {
        let refused = |error: TlsError| KeyError(error.to_string());
        let mut config = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(refused)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier::new(&self.provider, Some(to))))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(self.key.clone())));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.resumption = Resumption::disabled();
        QuicClientConfig::try_from(config).map_err(|error| KeyError(error.to_string()))
    }
}

fn id_of(public: &SubjectPublicKeyInfoDer<'_>) -> Option<NodeId> {
    let key = public.as_ref().strip_prefix(&PUBLIC_PREFIX)?;
    Some(NodeId(key.try_into().ok()?))
}

/// Who is at the other end of a connection.
pub(crate) fn peer_of(connection: &quinn::Connection) -> Option<NodeId> {
    let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    id_of(&SubjectPublicKeyInfoDer::from(identity.first()?.as_ref()))
}

/// Checks that the other side has the key it shows, and that it is the one that was called. Whether a node is welcome is not decided here.
#[derive(Debug)]
struct Verifier {
    algorithms: WebPkiSupportedAlgorithms,
    expected: Option<NodeId>,
}

impl Verifier {
    fn new(provider: &CryptoProvider, expected: Option<NodeId>) -> Self {
        Self { algorithms: provider.signature_verification_algorithms, expected }
    }

    fn check(&self, shown: &CertificateDer<'_>) -> Result<(), TlsError> {
        let id = id_of(&SubjectPublicKeyInfoDer::from(shown.as_ref())).ok_or_else(|| TlsError::General("no ed25519 key".into()))?;
        match self.expected {
            Some(expected) if expected != id => Err(TlsError::General(format!("it is node {id}, not {expected}"))),
            _ => Ok(()),
        }
    }
}

/// How both sides prove that they have the key they show: rustls asks for it in two traits.
macro_rules! proofs {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, TlsError> {
            // QUIC is TLS 1.3.
            Err(PeerIncompatible::Tls13RequiredForQuic.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            shown: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, TlsError> {
            verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(shown.as_ref()), signature, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }

        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    };
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        self.check(shown).map(|()| ServerCertVerified::assertion())
    }

    proofs!();
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        self.check(shown).map(|()| ClientCertVerified::assertion())
    }

    proofs!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_as_they_print_and_hide_the_secret() {
        let key = NodeKey::from_secret([7; 32]).expect("a key");
        assert_eq!(key.id().to_string().parse::<NodeId>().expect("an id"), key.id());
        // RFC 8032, the first test of section 7.1.
        let secret = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60".parse::<NodeId>().expect("hex").0;
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(NodeKey::from_secret(secret).expect("a key").id().to_string(), public);
        assert!(!format!("{key:?}").contains("0707"));
        for wrong in ["", "00", "zz", &"g".repeat(64), &"é".repeat(32)] {
            assert!(wrong.parse::<NodeId>().is_err(), "{wrong}");
        }
    }
}
