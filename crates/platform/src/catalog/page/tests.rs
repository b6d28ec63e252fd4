use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::*;

/// All sources that may name a text.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    let folders = ["templates", "assets"].map(|folder| fs::read_dir(root.join(folder)).unwrap());
    let files = folders.into_iter().flatten().map(|file| file.unwrap().path());
    files.map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap())).collect()
}

#[test]
fn names_are_unique_and_arguments_the_same_in_both_languages() {
    let names: BTreeSet<_> = all().map(|(name, _, _)| name).collect();
    assert_eq!(names.len(), all().count());
    let arguments = |text: &str| -> BTreeSet<String> {
        text.split('{').skip(1).map(|rest| rest.split('}').next().unwrap().to_owned()).collect()
    };
    for (name, zh, en) in all() {
        assert!(!zh.is_empty() && !en.is_empty(), "{name}");
        assert_eq!(arguments(zh), arguments(en), "{name}");
    }
}

/// A text whose name is put together (`"status." ~ …`) counts as used by its beginning.
#[test]
fn every_text_is_used() {
    let sources = sources();
    for (name, _, _) in all() {
        let own = name.strip_prefix("js.").unwrap_or(name);
        let stems: Vec<String> = own.match_indices('.').map(|(dot, _)| format!("\"{}", &own[..=dot])).collect();
        let used = sources.iter().any(|(_, text)| {
            let put_together =
                |stem: &String| text.contains(&format!("{stem}\" ~")) || text.contains(&format!("{stem}\" +"));
            text.contains(&format!("\"{own}\"")) || stems.iter().any(put_together)
        });
        assert!(used, "nothing shows {name}");
    }
}

#[test]
fn every_text_that_a_script_asks_for_is_there() {
    for (file, source) in sources().iter().filter(|(file, _)| file.ends_with(".js")) {
        // Not the `getContext("2d")` of a canvas.
        let source = source.replace("getContext(", "");
        for asked in source.split("text(\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            let found = text(&format!("js.{asked}"), Language::Zh).is_some() || asked.ends_with('.');
            assert!(found, "{file} asks for js.{asked}");
        }
    }
}

#[test]
fn every_action_of_the_audit_log_has_a_word() {
    for action in crate::store::audit::Action::ALL {
        assert!(text(&format!("action.{}", action.name()), Language::Zh).is_some(), "{action:?}");
    }
}
