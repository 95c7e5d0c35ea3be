//! TLS settings of one host.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::error::RegistryError;
use super::hosts::HostConfig;

/// No certificate or key file is larger than this.
const MAX_PEM: u64 = 4 << 20;

/// The TLS configuration for `host`: the system's authorities and its own, its client certificates,
/// and no check at all when it says so.
pub(crate) fn client_config(host: &HostConfig) -> Result<ClientConfig, RegistryError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let failed = |problem: String| RegistryError::Tls { host: host.host.clone(), problem };
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| failed(e.to_string()))?;
    let builder = match host.skip_verify {
        Some(true) => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(TrustAnyone(provider.clone())))
        }
        _ => builder.with_root_certificates(roots(host).map_err(failed)?),
    };
    if host.client.is_empty() {
        return Ok(builder.with_no_client_auth());
    }
    let mut keys = Vec::with_capacity(host.client.len());
    for (cert, key) in &host.client {
        keys.push(Arc::new(load_pair(cert, key.as_deref(), &provider).map_err(failed)?));
    }
    Ok(builder.with_client_cert_resolver(Arc::new(ClientKeys(keys))))
}

/// The system's authorities, read once.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    ROOTS
        .get_or_init(|| {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::warn!(%error, "certificate authority of the system skipped");
            }
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(found.certs);
            Arc::new(store)
        })
        .clone()
}

fn roots(host: &HostConfig) -> Result<Arc<RootCertStore>, String> {
    if host.ca.is_empty() {
        return Ok(system_roots());
    }
    let mut store = RootCertStore::clone(&system_roots());
    for path in &host.ca {
        let before = store.len();
        for cert in certificates(path)? {
            store.add(cert).map_err(|e| format!("unable to load CA cert {path:?}: {e}"))?;
        }
        if store.len() == before {
            return Err(format!("unable to load CA cert {path:?}: no certificate in it"));
        }
    }
    Ok(Arc::new(store))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let mut data = Vec::new();
    std::fs::File::open(path)
        .and_then(|f| f.take(MAX_PEM).read_to_end(&mut data))
        .map_err(|e| format!("unable to read {path:?}: {e}"))?;
    Ok(data)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| format!("unable to read certificate {path:?}: {e}"))
}

fn load_pair(cert: &Path, key: Option<&Path>, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let chain = certificates(cert)?;
    let path = key.unwrap_or(cert);
    let der = PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|e| format!("unable to read key {path:?}: {e}"))?;
    CertifiedKey::from_der(chain, der, provider)
        .map_err(|e| format!("failed to load X509 key pair {cert:?}: {e}"))
}

/// Offers the first configured client certificate that the server can check.
#[derive(Debug)]
struct ClientKeys(Vec<Arc<CertifiedKey>>);

impl ResolvesClientCert for ClientKeys {
    fn resolve(&self, _hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.iter().find(|k| k.key.choose_scheme(schemes).is_some()).cloned()
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

/// `skip_verify`: the certificate may be anything, the handshake must still be sound.
#[derive(Debug)]
struct TrustAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
