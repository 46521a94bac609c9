//! Files of a crate stand on each other in layers: no file imports one that imports it, directly or through others.
//!
//! Imports are read as text: paths that begin with `crate` or `super`, in the shape that rustfmt gives them. A file of tests counts for nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A module's path in its crate; the crate's root is empty.
type Module = Vec<String>;

/// A crate's files.
struct Crate {
    texts: BTreeMap<Module, String>,
    /// What a module hands on under its own name: module and name, and the path it stands for.
    handed_on: BTreeMap<(Module, String), Module>,
}

/// The text before a file's tests, without comments.
fn code(text: &str) -> String {
    let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let line = |line: &str| line.split("//").next().unwrap_or_default().to_owned() + "\n";
    code.lines().map(line).collect()
}

/// Reads a tree of paths, as `a::{b, c::d}`, from the start of a text: the paths, and what is left of the text.
fn paths(text: &str) -> (Vec<Module>, &str) {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        let mut all = Vec::new();
        loop {
            let (some, behind) = paths(rest);
            all.extend(some);
            rest = behind.trim_start();
            if let Some(behind) = rest.strip_prefix(',') {
                rest = behind;
            } else {
                return (all, rest.strip_prefix('}').unwrap_or(rest));
            }
        }
    }
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return (Vec::new(), rest.strip_prefix('*').unwrap_or(rest));
    }
    let head = name.to_owned();
    if let Some(behind) = rest.strip_prefix("::") {
        let (tails, left) = paths(behind);
        let all: Vec<Module> = tails.into_iter().map(|tail| [vec![head.clone()], tail].concat()).collect();
        return (if all.is_empty() { vec![vec![head]] } else { all }, left);
    }
    let rest = rest
        .strip_prefix(" as ")
        .map_or(rest, |renamed| renamed.trim_start_matches(|letter: char| letter.is_alphanumeric() || letter == '_'));
    (vec![vec![head]], rest)
}

/// All paths of a text that begin with a word.
fn beginning_with<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = Module> + 'a {
    let begins = move |at: &usize| {
        let before = text[..*at].chars().next_back();
        !before.is_some_and(|letter| letter.is_alphanumeric() || "_:$".contains(letter)) && text[at + word.len()..].starts_with("::")
    };
    text.match_indices(word).map(|(at, _)| at).filter(begins).flat_map(move |at| paths(&text[at..]).0)
}

impl Crate {
    fn read(folder: &Path) -> Self {
        let mut files = Vec::new();
        super::sources(folder, &mut files);
        let mut texts = BTreeMap::new();
        for file in files {
            let mut module: Module =
                file.strip_prefix(folder).unwrap().with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            if ["lib", "main", "mod"].contains(&module.last().unwrap().as_str()) {
                module.pop();
            }
            if !module.iter().any(|part| part == "tests") {
                texts.insert(module, code(&fs::read_to_string(file).unwrap()));
            }
        }
        let mut handed_on = BTreeMap::new();
        for (module, text) in &texts {
            for (at, _) in
                text.match_indices("use ").filter(|(at, _)| text[..*at].ends_with("pub ") || text[..*at].ends_with("pub(crate) "))
            {
                for path in paths(&text[at + 4..]).0 {
                    let path = match path.first().map(String::as_str) {
                        Some("crate") => path[1..].to_vec(),
                        Some("self") => [module.clone(), path[1..].to_vec()].concat(),
                        _ => [module.clone(), path].concat(),
                    };
                    if let Some(name) = path.last() {
                        handed_on.insert((module.clone(), name.clone()), path.clone());
                    }
                }
            }
        }
        Self { texts, handed_on }
    }

    /// The file that a path is of.
    fn file_of(&self, path: &[String]) -> Module {
        let known = (0..=path.len()).rev().find(|length| self.texts.contains_key(&path[..*length])).unwrap_or(0);
        let (module, rest) = path.split_at(known);
        let handed_on = rest.first().and_then(|name| self.handed_on.get(&(module.to_vec(), name.clone())));
        match handed_on {
            Some(further) if further != path => self.file_of(further),
            _ => module.to_vec(),
        }
    }

    /// What each file imports. The crate's root hands on and declares; nothing stands on it.
    fn imports(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let imports = |(module, text): (&Module, &String)| {
            let from_root = beginning_with(text, "crate").map(|path| path[1..].to_vec());
            let from_above = beginning_with(text, "super").map(|path| {
                let ups = path.iter().take_while(|part| *part == "super").count();
                [&module[..module.len().saturating_sub(ups)], &path[ups..]].concat()
            });
            let files = from_root.chain(from_above).map(|path| self.file_of(&path));
            (module.clone(), files.filter(|file| file != module && !file.is_empty()).collect())
        };
        self.texts.iter().filter(|(module, _)| !module.is_empty()).map(imports).collect()
    }
}

/// A loop among files, if there is one.
fn circle(imports: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<String>> {
    let mut left = imports.clone();
    // Files that stand on none that is left.
    while let Some(ground) = left.iter().find(|(_, on)| !on.iter().any(|file| left.contains_key(file))).map(|(file, _)| file.clone()) {
        left.remove(&ground);
    }
    let mut way = vec![left.keys().next()?.clone()];
    loop {
        let next = left[way.last()?].iter().find(|file| left.contains_key(*file))?.clone();
        if let Some(at) = way.iter().position(|file| *file == next) {
            way.push(next);
            return Some(way[at..].iter().map(|file| file.join("::")).collect());
        }
        way.push(next);
    }
}

#[test]
fn files_of_a_crate_stand_in_layers() {
    let root = Path::new(super::ROOT);
    let mut crates: Vec<PathBuf> = vec![root.join("storage")];
    for folder in ["host", "guest-modules"] {
        crates.extend(fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()));
    }
    let sources = crates.iter().map(|folder| folder.join("src")).filter(|folder| folder.is_dir());
    let circles: Vec<_> = sources
        .filter_map(|folder| Some(format!("{}: {}", folder.display(), circle(&Crate::read(&folder).imports())?.join(" -> "))))
        .collect();
    assert!(circles.is_empty(), "files import each other in a loop:\n{}", circles.join("\n"));
}

#[test]
fn a_loop_is_found() {
    let file = |text: &str| code(text);
    let texts = [
        ("", "mod a; mod b; mod c; pub use a::One;"),
        ("a", "use crate::b::{self, Two};"),
        ("b", "use crate::c::Three; // use crate::a;"),
        ("c", "fn f(one: super::One) {}\n#[cfg(test)]\nmod tests { use crate::b; }"),
    ];
    let module = |name: &str| if name.is_empty() { Vec::new() } else { vec![name.to_owned()] };
    let texts: BTreeMap<_, _> = texts.into_iter().map(|(name, text)| (module(name), file(text))).collect();
    let handed_on = BTreeMap::from([((Vec::new(), "One".to_owned()), vec!["a".to_owned(), "One".to_owned()])]);
    let mut house = Crate { texts, handed_on };
    assert_eq!(circle(&house.imports()), Some(["a", "b", "c", "a"].map(String::from).to_vec()));
    house.texts.insert(vec!["c".into()], file("fn f() {}"));
    assert_eq!(circle(&house.imports()), None);
}
