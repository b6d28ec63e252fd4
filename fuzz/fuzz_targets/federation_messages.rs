//! Messages of a secure sum, and what else a coordinator or a site reads of another: no panic, and what is read is written
//! back byte for byte, but for a manifest and a roster, which are kept as they came.
#![no_main]

use federation::sealing::Sealed;
use federation::secagg::{Manifest, Reply, Request, SignedRoster};
use federation::{Digest, SessionId, SignedAnnouncement, SigningKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 6 {
        0 => {
            if let Ok(request) = Request::from_bytes(bytes) {
                assert_eq!(request.to_bytes(), bytes);
                let text = serde_json::to_string(&request).expect("a request can be stored");
                assert_eq!(serde_json::from_str::<Request>(&text).expect("and loaded"), request);
            }
        }
        1 => {
            if let Ok(reply) = Reply::from_bytes(bytes) {
                assert_eq!(reply.to_bytes(), bytes);
            }
        }
        2 => {
            if let Ok(manifest) = Manifest::from_bytes(bytes.to_vec()) {
                assert_eq!(manifest.bytes(), bytes);
                assert!(manifest.threshold() <= manifest.participants().len());
            }
        }
        3 => {
            if let Some(sealed) = Sealed::from_bytes(bytes) {
                assert_eq!(sealed.to_bytes(), bytes);
            }
        }
        4 => {
            // A signature that fits cannot be guessed: the key is the fuzzer's, so that what lies behind is reached, too.
            let key = SigningKey::from_bytes(&[7; 32]);
            let signed = SignedRoster::sign_bytes(bytes.to_vec(), &key);
            if let Ok(roster) = signed.verify(&key.verifying_key()) {
                let text = serde_json::to_string(&roster).expect("a roster can be stored");
                let loaded: federation::secagg::Roster = serde_json::from_str(&text).expect("and loaded");
                assert_eq!(loaded, roster);
            }
        }
        _ => {
            let announcement =
                SignedAnnouncement { bytes: bytes.to_vec(), signature: bytes.iter().copied().take(64).collect() };
            let key = SigningKey::from_bytes(&[7; 32]);
            let list = SignedRoster::sign("f", 1, None, Vec::new(), &key.verifying_key(), &key).expect("an empty list");
            let roster = list.verify(&key.verifying_key()).expect("just signed");
            let session = SessionId::new("s").expect("a name");
            assert!(announcement.verify(&roster, &session, 1, Digest::of_bytes(b"")).is_err());
        }
    }
});
