//! The registry client: hosts, connections, authorisation, resolving, fetching and uploading.
//!
//! Follows the OCI distribution specification and Docker's token authentication. A [`Resolver`] lives
//! for one transfer: it holds that transfer's connections, tokens and credentials, and spawns
//! nothing. Every body is capped, every wait is bounded (see [`Timeouts`]), and a credential or a
//! configured header is only ever sent to the host it was given for.

mod answer;
mod auth;
mod credentials;
mod error;
mod fetch;
mod hosts;
mod location;
mod proxy;
mod referrers;
mod request;
mod resolve;
mod resolver;
mod tls;
mod transport;
mod upload;

pub use credentials::{Credential, CredentialRequest, Credentials, StaticCredentials};
pub use error::{Attempt, Failure, RegistryError};
pub use fetch::BlobStream;
pub use hosts::{Capabilities, HostConfig, HostDirs, HostsFileError, Scheme, is_localhost, parse_hosts_file};
pub use proxy::Proxies;
pub use resolve::Resolved;
pub use resolver::{MAX_MANIFEST_SIZE, Repository, Resolver, ResolverOptions, Timeouts};
pub use upload::{BodySource, Offer, Pushed, Upload};
