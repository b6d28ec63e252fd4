//! Help pages and complaints about arguments, in the reader's language.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, CommandFactory};
use workflow::catalog::{Language, Message, help};

use crate::args::Arguments;
use crate::console::{Console, Exit};

/// The language asked for: on the command line, by `FEDNODULE_LANG`, by the system.
pub(crate) fn language(words: &[String]) -> Language {
    let after = words.windows(2).find(|pair| pair[0] == "--lang").map(|pair| pair[1].clone());
    let joined = words.iter().find_map(|word| word.strip_prefix("--lang=").map(str::to_owned));
    let variables = ["FEDNODULE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"];
    let wishes: Vec<String> =
        after.into_iter().chain(joined).chain(variables.iter().filter_map(|name| std::env::var(name).ok())).collect();
    Language::choose(wishes.iter().map(String::as_str))
}

/// The same command with its help from the catalogue.
pub(crate) fn localised(command: Command, language: Language) -> Command {
    let name = command.get_name().to_owned();
    let text = |key: &str| StyledStr::from(help(key, language).unwrap_or_default().to_owned());
    let word = |key: &str| help(&format!("page.{key}"), language).unwrap_or_default();
    let builtin =
        |id: &'static str, action| Arg::new(id).long(id).action(action).global(id == "help").display_order(1000);
    let is_program = command.get_subcommands().next().is_some();
    let mut command = command.disable_help_flag(true).disable_version_flag(true).disable_help_subcommand(true);
    if is_program {
        command = command
            .arg(builtin("help", ArgAction::Help).short('h'))
            .arg(builtin("version", ArgAction::Version).short('V'));
    }
    let after = help(&format!("{name}.after"), language).map(|after| format!("\n\n{after}")).unwrap_or_default();
    command
        .about(text(&name))
        .help_template(format!("{{about}}\n\n{}: {{usage}}\n\n{{all-args}}{{after-help}}", word("usage")))
        .after_help(after.trim_start().to_owned())
        .subcommand_help_heading(word("commands"))
        .mut_args(|arg| {
            let help = text(&format!("{name}.{}", arg.get_id()));
            let heading = if arg.is_positional() { word("arguments") } else { word("options") };
            let help = StyledStr::from(format!("{help}{}", choices(&arg, word("default"), word("choices"), language)));
            let arg = arg.help(help).help_heading(heading);
            // clap allows these of options with a value only.
            if arg.get_action().takes_values() { arg.hide_default_value(true).hide_possible_values(true) } else { arg }
        })
        .mut_subcommands(|subcommand| localised(subcommand, language))
}

/// ` (default: standard; one of: fast, standard, accurate)`
fn choices(arg: &Arg, default_word: &str, choices_word: &str, language: Language) -> String {
    if !arg.get_action().takes_values() {
        return String::new();
    }
    let list = |values: Vec<String>| values.join(", ");
    let defaults = list(arg.get_default_values().iter().map(|v| v.to_string_lossy().into_owned()).collect());
    let possible = list(arg.get_possible_values().iter().map(|v| v.get_name().to_owned()).collect());
    let named = [(default_word, defaults), (choices_word, possible)];
    let parts: Vec<String> = named
        .into_iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(word, values)| match language {
            Language::Zh => format!("{word} {values}"),
            Language::En => format!("{word}: {values}"),
        })
        .collect();
    match (parts.is_empty(), language) {
        (true, _) => String::new(),
        (false, Language::Zh) => format!("（{}）", parts.join("；")),
        (false, Language::En) => format!(" ({})", parts.join("; ")),
    }
}

/// Shows the help that was asked for, or what is wrong with the arguments.
pub(crate) fn refused(error: &clap::Error, words: &[String], console: &Console) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A closed pipe (`| head`) is no failure.
            error.print().ok();
            Exit::Success
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            error.print().ok();
            Exit::Usage
        }
        _ => console.bad_arguments(&complaint(error, console.language), &suggestions(error), &command_of(words)),
    }
}

fn complaint(error: &clap::Error, language: Language) -> String {
    let value = |kind| error.get(kind).map(shown).unwrap_or_default();
    let (argument, given) = (value(ContextKind::InvalidArg), value(ContextKind::InvalidValue));
    let other = value(ContextKind::PriorArg);
    let message = match error.kind() {
        ErrorKind::UnknownArgument => Message::ArgumentUnknown { argument: &argument },
        ErrorKind::InvalidSubcommand => {
            return Message::CommandUnknown { command: &value(ContextKind::InvalidSubcommand) }.text(language);
        }
        ErrorKind::MissingRequiredArgument => Message::ArgumentMissing { argument: &argument },
        ErrorKind::MissingSubcommand => Message::CommandMissing,
        ErrorKind::InvalidValue if given.is_empty() => Message::ArgumentNeedsValue { argument: &argument },
        ErrorKind::InvalidValue => {
            let choices = value(ContextKind::ValidValue);
            return Message::ArgumentChoice { argument: &argument, given: &given, choices: &choices }.text(language);
        }
        ErrorKind::ValueValidation => {
            let expected = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            return Message::ArgumentValue { argument: &argument, given: &given, expected: &expected }.text(language);
        }
        ErrorKind::ArgumentConflict if other.is_empty() || other == argument => {
            Message::ArgumentTwice { argument: &argument }
        }
        ErrorKind::ArgumentConflict => Message::ArgumentConflict { argument: &argument, other: &other },
        // What clap says in English is better than nothing.
        _ => return error.render().to_string().lines().next().unwrap_or_default().to_owned(),
    };
    message.text(language)
}

fn suggestions(error: &clap::Error) -> Vec<String> {
    [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue]
        .into_iter()
        .filter_map(|kind| error.get(kind))
        .flat_map(|value| match value {
            ContextValue::Strings(all) => all.clone(),
            other => vec![shown(other)],
        })
        .collect()
}

/// `fednodule predict`: the command that the words ask for.
fn command_of(words: &[String]) -> String {
    let program = Arguments::command();
    match words.iter().skip(1).find(|word| program.find_subcommand(word).is_some()) {
        Some(command) => format!("fednodule {command}"),
        None => "fednodule".to_owned(),
    }
}

fn shown(value: &ContextValue) -> String {
    match value {
        ContextValue::Strings(all) => all.join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(command: &Command) -> Vec<String> {
        let name = command.get_name();
        let arguments = command.get_arguments().map(|arg| format!("{name}.{}", arg.get_id()));
        let own = std::iter::once(name.to_owned()).chain(arguments);
        own.chain(command.get_subcommands().flat_map(keys)).collect()
    }

    #[test]
    fn every_command_and_argument_has_help_in_both_languages() {
        for key in keys(&Arguments::command()) {
            for language in Language::ALL {
                assert!(help(&key, language).is_some_and(|text| !text.is_empty()), "{key} in {language:?}");
            }
        }
    }

    #[test]
    fn clap_finds_no_contradiction() {
        for language in Language::ALL {
            localised(Arguments::command(), language).debug_assert();
        }
    }

    #[test]
    fn the_command_line_decides_about_the_language_before_the_environment() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(language(&words("fednodule --lang en inspect x")), Language::En);
        assert_eq!(language(&words("fednodule inspect --lang=zh x")), Language::Zh);
    }
}
