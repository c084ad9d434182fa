//! A trust domain to test in: an authority a day old, and identities issued by it.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use weir_identity::{Authority, Current, Identity, KeyRequest, SpiffeId, TrustDomain};

pub const HOUR: Duration = Duration::from_secs(3600);

pub struct World {
    pub authority: Authority,
    pub domain: TrustDomain,
    pub now: SystemTime,
}

impl World {
    pub fn new(domain: &str) -> Self {
        let domain = TrustDomain::parse(domain).unwrap();
        let now = SystemTime::now();
        let authority = Authority::create(&domain, now - 24 * HOUR).unwrap();
        Self {
            authority,
            domain,
            now,
        }
    }

    pub fn service(&self, name: &str) -> Identity {
        Identity::new(self.issue(&SpiffeId::service(&self.domain, name).unwrap()))
    }

    pub fn control_plane(&self) -> Identity {
        Identity::new(self.issue(&SpiffeId::control_plane(&self.domain)))
    }

    pub fn issue(&self, id: &SpiffeId) -> Current {
        self.issue_at(id, self.now)
    }

    /// An identity issued at some moment, valid for an hour.
    pub fn issue_at(&self, id: &SpiffeId, now: SystemTime) -> Current {
        let request = KeyRequest::new().unwrap();
        let issued = self
            .authority
            .issue(request.csr_pem(), id, &[], HOUR, now)
            .unwrap();
        request
            .into_current(&issued.chain_pem, self.authority.bundle().unwrap())
            .unwrap()
    }

    /// A leaf with its bare key, for building what the crate itself would not.
    pub fn bare_leaf(&self, id: &SpiffeId) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default()
            .serialize_request(&key)
            .unwrap()
            .pem()
            .unwrap();
        let issued = self.authority.issue(&csr, id, &[], HOUR, self.now).unwrap();
        let leaf = CertificateDer::from_pem_slice(issued.chain_pem.as_bytes()).unwrap();
        (leaf, key.into())
    }

    pub fn id(&self, service: &str) -> SpiffeId {
        SpiffeId::service(&self.domain, service).unwrap()
    }
}
