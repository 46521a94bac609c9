//! Builds RocksDB from the sources that librocksdb-sys comes with, many files to a translation unit: reading headers is most of what
//! compiling one file takes, and is done once for [`FILES`] this way. The library is kept in the target folder, under a name that stands for
//! the compiler, its flags and the sources, and linked from this script's own folder, which is there as long as cargo takes it to have run.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

/// What `.cargo/config.toml` sets `ROCKSDB_LIB_DIR` to. With another value, or none, librocksdb-sys links or builds RocksDB itself.
const BUILT_HERE: &str = "built-by-subnode-storage";
/// Files to a translation unit. Of 24 there are a dozen units, and the compiler of one takes 800 MB.
const FILES: usize = 24;
/// How the names of files begin that nothing reaches from RocksDB's C interface.
const UNREACHED: [&str; 10] = [
    "tools/",
    "utilities/agg_merge/",
    "utilities/blob_db/",
    "utilities/cache_dump",
    "utilities/cassandra/",
    "utilities/fault_injection",
    "utilities/persistent_cache/",
    "utilities/secondary_index/",
    "utilities/simulator_cache/",
    "utilities/sorted_run_builder/",
];
/// Features of processors that RocksDB has code for, as rustc and C++ compilers name them.
const FEATURES: [(&str, &str); 5] =
    [("sse4.2", "-msse4.2"), ("pclmulqdq", "-mpclmul"), ("avx2", "-mavx2"), ("bmi1", "-mbmi"), ("lzcnt", "-mlzcnt")];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for variable in ["ROCKSDB_LIB_DIR", "CXX", "CXXFLAGS"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    if env::var("ROCKSDB_LIB_DIR").is_ok_and(|dir| dir == BUILT_HERE) {
        println!("cargo::rustc-link-search=native={}", library().display());
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The folder with the library, which is built if it is not kept.
fn library() -> PathBuf {
    let sources = PathBuf::from(variable("DEP_ROCKSDB_CARGO_MANIFEST_DIR"));
    let mut build = configure(&sources);
    let mut hasher = DefaultHasher::new();
    let compiler = build.get_compiler();
    // Not the rest of the environment, which is another in each shell, nor where this target folder is.
    let flags = compiler.args().iter().filter(|flag| !flag.to_string_lossy().ends_with(&variable("DEP_LZ4_INCLUDE")));
    (compiler.path(), flags.collect::<Vec<_>>(), FILES, UNREACHED).hash(&mut hasher);
    let out = PathBuf::from(variable("OUT_DIR"));
    // OUT_DIR is target/PROFILE/build/NAME/out.
    let built = out.ancestors().nth(4).expect("out is four folders down").join(format!("rocksdb/{:016x}", hasher.finish()));
    let (kept, own) = (built.join("librocksdb.a"), out.join("librocksdb.a"));
    if !kept.exists() {
        build.files(units(&sources, &out)).compile("rocksdb");
        fs::create_dir_all(&built).unwrap_or_else(|error| panic!("create {}: {error}", built.display()));
        // A rename, so that a build that is interrupted leaves nothing that looks like a library.
        fs::rename(&own, &kept).unwrap_or_else(|error| panic!("move {} to {}: {error}", own.display(), kept.display()));
    }
    // One of an earlier run may be there.
    drop(fs::remove_file(&own));
    fs::hard_link(&kept, &own).unwrap_or_else(|error| panic!("link {} to {}: {error}", kept.display(), own.display()));
    out
}

/// The compiler's flags. Those that say what the system has are of RocksDB's own build.
fn configure(sources: &Path) -> cc::Build {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++20").opt_level(3).debug(false).warnings(false).cargo_metadata(false);
    if env::var_os("CXX").is_none() && Command::new("clang++").arg("--version").output().is_ok_and(|ran| ran.status.success()) {
        // It takes three quarters of the time that g++ takes, and its libraries are g++'s.
        build.compiler("clang++");
    }
    for include in ["rocksdb/include", "rocksdb", "."] {
        build.include(sources.join(include));
    }
    build.include(variable("DEP_LZ4_INCLUDE")).flag("-includecstdint");
    for define in ["LZ4", "NDEBUG", "HAVE_ALIGNED_NEW", "HAVE_UINT128_EXTENSION", "ROCKSDB_PLATFORM_POSIX", "ROCKSDB_LIB_IO_POSIX"] {
        build.define(define, "1");
    }
    let system: &[&str] = match variable("CARGO_CFG_TARGET_OS").as_str() {
        "linux" => &[
            "OS_LINUX",
            "ROCKSDB_SCHED_GETCPU_PRESENT",
            "ROCKSDB_AUXV_GETAUXVAL_PRESENT",
            "ROCKSDB_FALLOCATE_PRESENT",
            "ROCKSDB_RANGESYNC_PRESENT",
        ],
        "macos" => &["OS_MACOSX"],
        other => {
            panic!("RocksDB is built for Linux and macOS here, not for {other}; unset ROCKSDB_LIB_DIR to have librocksdb-sys build it")
        }
    };
    for define in system {
        build.define(define, "1");
    }
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    for (_, flag) in FEATURES.iter().filter(|(feature, _)| features.split(',').any(|one| one == *feature)) {
        build.flag(flag);
    }
    build
}

/// The translation units, each a file that includes files of one folder.
fn units(sources: &Path, out: &Path) -> Vec<PathBuf> {
    let list = sources.join("rocksdb_lib_sources.txt");
    let list = fs::read_to_string(&list).unwrap_or_else(|error| panic!("read {}: {error}", list.display()));
    // librocksdb-sys has this one in its own folder, with the version filled in.
    let version = |file: &str| file == "util/build_version.cc";
    let files = list.split_whitespace().filter(|file| !version(file) && !UNREACHED.iter().any(|start| file.starts_with(start)));
    let files: Vec<PathBuf> = files.map(|file| Path::new("rocksdb").join(file)).collect();
    let folder = |file: &PathBuf| file.iter().nth(1).map(ToOwned::to_owned);
    let mut units: Vec<&[PathBuf]> =
        files.chunk_by(|one, next| folder(one) == folder(next)).flat_map(|files| files.chunks(FILES)).collect();
    let version = [PathBuf::from("build_version.cc")];
    units.push(&version);
    let write = |(number, files): (usize, &[PathBuf])| {
        let unit = out.join(format!("unit{number}.cc"));
        let text: String = files.iter().map(|file| format!("#include \"{}\"\n", sources.join(file).display())).collect();
        fs::write(&unit, text).unwrap_or_else(|error| panic!("write {}: {error}", unit.display()));
        unit
    };
    units.into_iter().enumerate().map(write).collect()
}
