//! What every association of a process shares: the certificate, its fingerprint, and how handshakes are configured.

use super::super::srtp::Profile;
use super::DtlsError;
use aws_lc_rs::{constant_time, digest};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_crypto::{CryptoError, RTCCrypto, RTCCryptoProvider, RTCRandom};
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::{Certificate, CryptoPrivateKey};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_dtls::signature_hash_algorithm::SignatureScheme;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// SHA-256 of a certificate (RFC 8122, section 5).
#[derive(Clone, Copy)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate in DER.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
        Self(bytes)
    }

    /// The digest itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Fingerprint {
    fn from(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl PartialEq for Fingerprint {
    /// Takes the same time wherever they differ.
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for Fingerprint {}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}
pub(super) fn on_wire(profile: Profile) -> SrtpProtectionProfile {
    match profile {
        Profile::AeadAes128Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
        Profile::AeadAes256Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
        Profile::Aes128CmSha1_80 => SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
    }
}
/// The crate's provider, but with AEAD nonces that cannot repeat.
///
/// The crate draws the eight explicit bytes of each AES-GCM nonce at random. RFC 5288, section 3 wants them unique, and
/// a count is. They are the only eight bytes it ever asks for; a test holds it to that.
struct CountingProvider {
    inner: AwsLcRsProvider,
    random: CountingRandom,
}

struct CountingRandom {
    inner: AwsLcRsProvider,
    nonces: AtomicU64,
}

impl RTCRandom for CountingRandom {
    fn fill(&self, output: &mut [u8]) -> Result<(), CryptoError> {
        if let Ok(nonce) = <&mut [u8; 8]>::try_from(&mut *output) {
            *nonce = self.nonces.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            return Ok(());
        }
        self.inner.random().fill(output)
    }
}

impl RTCCryptoProvider for CountingProvider {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn crypto(&self) -> &dyn RTCCrypto {
        self.inner.crypto()
    }

    fn random(&self) -> &dyn RTCRandom {
        &self.random
    }
}

/// What all associations of the process share: the certificate, and one configuration per SRTP profile.
pub struct DtlsContext {
    fingerprint: Fingerprint,
    /// The profiles we take, the preferred first.
    configs: Vec<(Profile, Arc<HandshakeConfig>)>,
}

impl fmt::Debug for DtlsContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DtlsContext(…)")
    }
}

impl DtlsContext {
    /// Makes a fresh self-signed ECDSA P-256 certificate, which lives as long as the process.
    ///
    /// # Errors
    ///
    /// [`DtlsError::SetUp`] where no key or configuration can be made.
    pub fn new() -> Result<Self, DtlsError> {
        Self::with_profiles(&Profile::ALL)
    }

    /// The same with SRTP profiles of one's own choice, the preferred first.
    ///
    /// # Errors
    ///
    /// [`DtlsError::SetUp`] where no key or configuration can be made.
    pub fn with_profiles(profiles: &[Profile]) -> Result<Self, DtlsError> {
        let provider = Arc::new(CountingProvider {
            inner: AwsLcRsProvider::new(),
            random: CountingRandom { inner: AwsLcRsProvider::new(), nonces: AtomicU64::new(1) },
        });
        let certificate = self_signed(provider.crypto())?;
        let der = certificate.certificate.first().ok_or(DtlsError::SetUp)?;
        let fingerprint = Fingerprint::of(der);
        let config = |profile| Ok((profile, server_config(provider.clone(), certificate.clone(), profile)?));
        let configs = profiles.iter().copied().map(config).collect::<Result<_, DtlsError>>()?;
        Ok(Self { fingerprint, configs })
    }

    /// The fingerprint to signal.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The configuration for the profile we like best of those a client offers.
    pub(super) fn choose(&self, offers: impl Fn(u16) -> bool) -> Option<(Profile, Arc<HandshakeConfig>)> {
        self.configs.iter().find(|(profile, _)| offers(profile.id())).cloned()
    }
}

/// A certificate whose name says nothing.
pub(super) fn self_signed(crypto: &dyn RTCCrypto) -> Result<Certificate, DtlsError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|_| DtlsError::SetUp)?;
    let mut params = CertificateParams::new(Vec::new()).map_err(|_| DtlsError::SetUp)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "-");
    let certificate = params.self_signed(&key).map_err(|_| DtlsError::SetUp)?;
    let private_key = CryptoPrivateKey::from_key_pair(&key, crypto).map_err(|_| DtlsError::SetUp)?;
    Ok(Certificate { certificate: vec![certificate.der().clone()], private_key })
}

fn server_config(
    provider: Arc<dyn RTCCryptoProvider>,
    certificate: Certificate,
    profile: Profile,
) -> Result<Arc<HandshakeConfig>, DtlsError> {
    ConfigBuilder::default()
        .with_crypto_provider(provider)
        .with_certificates(vec![certificate])
        .with_cipher_suites(vec![CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256])
        .with_signature_schemes(vec![SignatureScheme::EcdsaWithP256AndSha256, SignatureScheme::EcdsaWithP384AndSha384])
        .with_srtp_protection_profiles(vec![on_wire(profile)])
        .with_client_auth(ClientAuthType::RequireAnyClientCert)
        .with_insecure_skip_verify(true)
        .with_extended_master_secret(ExtendedMasterSecretType::Require)
        .build(false, None)
        .map(Arc::new)
        .map_err(|_| DtlsError::SetUp)
}
