//! `access`, written back: every part, so that nothing of a site shines through where its route has taken it back.

use std::path::PathBuf;

use super::super::access::Access;
use super::{Page, quoted, strings};

impl Page {
    pub(super) fn access(&mut self, access: Option<&Access>) {
        let Some(access) = access else { return self.line("access", &quoted("off")) };
        let Access { addresses, referers } = access;
        let mut parts = Vec::new();
        let addresses = addresses.as_deref().cloned().unwrap_or_default();
        parts.push(format!("allow = {}", strings(addresses.allow.iter())));
        parts.push(format!("deny = {}", strings(addresses.deny.iter())));
        let files = |key: &str, files: &[PathBuf]| {
            (!files.is_empty())
                .then(|| format!("{key} = {}", strings(files.iter().map(|file| file.display()))))
        };
        parts.extend(files("allow_files", &addresses.allow_files));
        parts.extend(files("deny_files", &addresses.deny_files));
        parts.push(match referers.as_deref() {
            None => format!("referers = {}", quoted("off")),
            Some(referers) => {
                let hosts = strings(referers.hosts.iter());
                format!("referers = {{ hosts = {hosts}, none = {} }}", referers.none)
            }
        });
        self.line("access", &format!("{{ {} }}", parts.join(", ")));
    }
}
