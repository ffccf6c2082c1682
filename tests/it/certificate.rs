//! A certificate for 127.0.0.1 and localhost, signed by an authority made for the occasion.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

/// What a server with TLS and its clients need.
#[derive(Debug)]
pub(crate) struct Certificate {
    authority: String,
    server: String,
    key: String,
}

impl Certificate {
    /// A new authority and a certificate under it.
    pub(crate) fn issue() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "candela tests");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let server = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &authority)
            .unwrap();
        Self {
            authority: authority.pem(),
            server: server.pem(),
            key: key.serialize_pem(),
        }
    }

    /// Writes `ca.pem`, `server.pem` and `server.key` into `folder`, for a server that runs as `owner` or as ourselves.
    pub(crate) fn write_to(&self, folder: &Path, owner: Option<(u32, u32)>) {
        for (name, text) in [
            ("ca.pem", &self.authority),
            ("server.pem", &self.server),
            ("server.key", &self.key),
        ] {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            if let Some((uid, gid)) = owner {
                chown(&path, Some(uid), Some(gid)).unwrap();
            }
        }
    }
}
