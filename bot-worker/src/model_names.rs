//! The models that a server lets rooms choose: the name that the API knows, and one for people. Pure.

use common::live::OfferedModel;

/// The most characters of a name for people.
const NAME_MAX_CHARS: usize = 60;

/// What is written of one model in a setting: `id`, or `id=Name`.
///
/// # Errors
/// In words for people; `check` says what is wrong with the id.
pub(crate) fn read(
    text: &str,
    check: impl Fn(&str) -> Result<String, String>,
) -> Result<OfferedModel, String> {
    let (id, name) = match text.split_once('=') {
        Some((id, name)) => (id, Some(name.trim())),
        None => (text, None),
    };
    let id = check(id)?;
    let name = match name {
        None => name_of(&id),
        Some(name) => {
            let chars = name.chars().count();
            if chars == 0 || chars > NAME_MAX_CHARS || name.contains(char::is_control) {
                return Err(format!(
                    "{text:?}: a model's name for people has 1 to {NAME_MAX_CHARS} characters"
                ));
            }
            name.to_owned()
        }
    };
    Ok(OfferedModel { id, name })
}

/// What people call a model that is given no name: Gemini's read as Google writes them, any other is its id.
fn name_of(id: &str) -> String {
    if !id.starts_with("gemini-") {
        return id.to_owned();
    }
    let words = id.split('-').map(|word| {
        let mut characters = word.chars();
        let first = characters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(characters).collect::<String>()
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_a_name_that_people_understand() {
        let any = |id: &str| Ok(id.trim().to_owned());
        for (text, id, name) in [
            ("gemini-3.8-flash", "gemini-3.8-flash", "Gemini 3.8 Flash"),
            (
                "gemini-3.5-flash-lite",
                "gemini-3.5-flash-lite",
                "Gemini 3.5 Flash Lite",
            ),
            ("llama3.2:3b", "llama3.2:3b", "llama3.2:3b"),
            ("gemini-x=The quick one", "gemini-x", "The quick one"),
            (" owner/model = Ours ", "owner/model", "Ours"),
        ] {
            let model = read(text, any).unwrap();
            assert_eq!((&*model.id, &*model.name), (id, name));
        }
        for wrong in ["a=", "a= ", "a=\u{7}"] {
            assert!(read(wrong, any).is_err(), "{wrong}");
        }
        assert!(read(&format!("a={}", "x".repeat(61)), any).is_err());
    }
}
