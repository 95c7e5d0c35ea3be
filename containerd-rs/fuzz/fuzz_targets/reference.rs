//! References and platforms: what is accepted prints as something that reads back the same.
#![no_main]

use base::reference::Named;
use base::{Digest, Platform, Reference};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(reference) = Reference::parse(text) {
        // As in the original, what is read may print as no reference: escapes are decoded, and a host may be a lone colon.
        let _again = Reference::parse(&reference.to_string());
        let _parts =
            (reference.locator(), reference.object(), reference.domain(), reference.path(), reference.tag());
    }
    if let Ok(reference) = Reference::parse_normalized(text) {
        assert_eq!(Reference::parse_normalized(&reference.to_string()).unwrap(), reference);
        let _familiar = reference.familiar();
    }
    if let Ok(named) = Named::parse_normalized(text) {
        let again = Named::parse_normalized(&named.to_string()).unwrap();
        assert_eq!(again.to_string(), named.to_string());
    }
    if let Ok(platform) = Platform::parse(text) {
        let _again = Platform::parse(&platform.to_string());
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
});
