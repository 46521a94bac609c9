//! The words of the command line: which measurements, how long, and beside which other build.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

/// How long the measurements take that have a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Length {
    /// So long that all of it runs once: no figure is worth anything.
    Short,
    /// Minutes each.
    #[default]
    Usual,
    /// As much as the targets are about, which may take an hour.
    Full,
}

impl Length {
    /// The one of three that is of this length.
    pub(crate) fn of<T>(self, short: T, usual: T, full: T) -> T {
        match self {
            Self::Short => short,
            Self::Usual => usual,
            Self::Full => full,
        }
    }
}

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Measurements by name; all where there is none.
    pub(crate) names: Vec<String>,
    pub(crate) length: Length,
    /// Another build of `subnode`, for measurements that run two in turns.
    pub(crate) other: Option<PathBuf>,
    /// A part of the name of the rows that are measured, for measurements that have many.
    pub(crate) only: Option<String>,
}

impl Options {
    /// Of the words behind the program's name.
    pub(crate) fn parse(words: &[String]) -> anyhow::Result<Self> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--short" => options.length = Length::Short,
                "--full" => options.length = Length::Full,
                "--beside" => options.other = Some(words.next().context("--beside PATH: another build of subnode")?.into()),
                "--only" => options.only = Some(words.next().context("--only TEXT: a part of a row's name")?.clone()),
                flag if flag.starts_with('-') => bail!("{flag} is no option; there are --short, --full, --beside PATH and --only TEXT"),
                _ => options.names.push(word.clone()),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> anyhow::Result<Options> {
        Options::parse(&words.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn options_stand_anywhere_among_the_names() {
        let options = parse(&["dev", "--short", "attacks", "--beside", "/old/subnode"]).expect("good words");
        let names = vec!["dev".to_owned(), "attacks".to_owned()];
        assert_eq!(options, Options { names, length: Length::Short, other: Some("/old/subnode".into()), only: None });
        assert_eq!(parse(&[]).expect("no words"), Options::default());
        assert!(parse(&["--beside"]).is_err() && parse(&["--long"]).is_err());
    }
}
