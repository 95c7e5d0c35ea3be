//! `passwd` and `group` files of an image with the user that its config asks for: what is a number is never a name.
#![no_main]

use base::user::UserSpec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8], &[u8])| {
    let (spec, passwd, group) = input;
    let Ok(spec) = UserSpec::parse(spec) else { return };
    let Ok(ids) = spec.resolve(passwd, group) else { return };
    if let Ok(uid) = input.0.parse::<u32>() {
        assert_eq!(ids.uid, uid);
    }
});
