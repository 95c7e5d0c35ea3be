//! What every request carries beside its message: the namespace and the lease, in metadata.

use base::{LeaseId, Namespace, Scope};
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use crate::status::{invalid, refuse};

const NAMESPACE: &str = "containerd-namespace";
const LEASE: &str = "containerd-lease";

/// Namespace and lease of a request. A missing namespace is a failed precondition, a malformed one an invalid argument.
pub(crate) fn scope<T>(request: &Request<T>) -> Result<Scope, Status> {
    let namespace = namespace(request.metadata())?;
    let lease = match header(request.metadata(), LEASE)? {
        Some(id) if !id.is_empty() => {
            Some(LeaseId::new(id).map_err(|e| invalid(format!("lease: {}", base::chain(&e))))?)
        }
        _ => None,
    };
    Ok(Scope { namespace, lease })
}

fn namespace(metadata: &MetadataMap) -> Result<Namespace, Status> {
    match header(metadata, NAMESPACE)? {
        Some(name) if !name.is_empty() => {
            Namespace::new(name).map_err(|e| invalid(format!("namespace validation: {}", base::chain(&e))))
        }
        _ => Err(refuse(base::ErrorKind::FailedPrecondition, "namespace is required")),
    }
}

fn header<'m>(metadata: &'m MetadataMap, name: &str) -> Result<Option<&'m str>, Status> {
    match metadata.get(name).map(|v| v.to_str()) {
        None => Ok(None),
        Some(Ok(value)) => Ok(Some(value)),
        Some(Err(_)) => Err(invalid(format!("header {name} is not text"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    fn request(pairs: &[(&'static str, &str)]) -> Request<()> {
        let mut request = Request::new(());
        for (key, value) in pairs {
            request.metadata_mut().insert(*key, value.parse().unwrap());
        }
        request
    }

    #[test]
    fn a_namespace_is_needed_and_checked() {
        assert_eq!(scope(&request(&[])).unwrap_err().code(), Code::FailedPrecondition);
        assert_eq!(scope(&request(&[(NAMESPACE, "")])).unwrap_err().code(), Code::FailedPrecondition);
        assert_eq!(scope(&request(&[(NAMESPACE, "a/b")])).unwrap_err().code(), Code::InvalidArgument);
        let long = "x".repeat(77);
        assert_eq!(scope(&request(&[(NAMESPACE, long.as_str())])).unwrap_err().code(), Code::InvalidArgument);
        let scope = scope(&request(&[(NAMESPACE, "k8s.io"), (LEASE, "l1")])).unwrap();
        assert_eq!((scope.namespace.as_str(), scope.lease.unwrap().as_str()), ("k8s.io", "l1"));
    }
}
