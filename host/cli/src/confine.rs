//! Confines the process: it gives up files outside of its directories, other programs, and most system calls.
//!
//! A guest that broke out of wasmtime would be held by these bounds. They apply before any thread starts, because
//! the kernel confines the calling thread and the threads that it starts.

use std::path::PathBuf;

/// What a node may reach from then on.
pub struct Reach {
    /// Directories in which everything may be done.
    pub writable: Vec<PathBuf>,
    /// Directories and files that may be read.
    pub readable: Vec<PathBuf>,
}

/// Confines this process. Where the kernel lacks a part of it, the part is left out, and the answer says so.
pub fn confine(reach: &Reach) -> Vec<String> {
    let mut lacking = Vec::new();
    #[cfg(target_os = "linux")]
    {
        if let Err(reason) = linux::files(reach) {
            lacking.push(format!("files are not confined: {reason}"));
        }
        if let Err(reason) = linux::calls() {
            lacking.push(format!("system calls are not confined: {reason}"));
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _unused = (&reach.writable, &reach.readable);
        lacking.push("this system has neither landlock nor seccomp".to_owned());
    }
    lacking
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;

    use landlock::{
        ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, path_beneath_rules,
    };
    use libc::{c_long, *};
    use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule};

    use super::Reach;

    /// What the kernel and the C library want to read of a process: its own entry, and what bounds it.
    const SYSTEM: [&str; 7] =
        ["/proc/self", "/proc/meminfo", "/proc/cpuinfo", "/sys/fs/cgroup", "/sys/devices/system/cpu", "/dev/urandom", "/dev/null"];

    pub(super) fn files(reach: &Reach) -> Result<(), String> {
        let abi = ABI::V5;
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let all = AccessFs::from_all(abi);
        let error = |error: landlock::RulesetError| error.to_string();
        let existing = |paths: &[std::path::PathBuf]| paths.iter().filter(|path| path.exists()).cloned().collect::<Vec<_>>();
        let status = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(all)
            .map_err(error)?
            .create()
            .map_err(error)?
            .add_rules(path_beneath_rules(existing(&reach.writable), all & !AccessFs::Execute))
            .map_err(error)?
            .add_rules(path_beneath_rules(existing(&reach.readable), read))
            .map_err(error)?
            .add_rules(path_beneath_rules(SYSTEM, read))
            .map_err(error)?
            .restrict_self()
            .map_err(error)?;
        match status.ruleset {
            RulesetStatus::NotEnforced => Err("this kernel has no landlock (Linux 5.13 and later have it)".to_owned()),
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        }
    }

    /// System calls of a node: memory, threads, files, sockets, clocks, signals to itself. Not among them, and so answered with "no such
    /// call": other programs, other processes' memory, mounts, namespaces, modules, tracing, keyrings.
    #[rustfmt::skip]
    const ALLOWED: &[c_long] = &[
        // Memory.
        SYS_brk, SYS_mmap, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_madvise, SYS_msync, SYS_mincore, SYS_mlock, SYS_munlock,
        SYS_membarrier, SYS_get_mempolicy,
        // Threads.
        SYS_futex, SYS_set_robust_list, SYS_get_robust_list, SYS_set_tid_address, SYS_rseq, SYS_gettid, SYS_getpid, SYS_getppid, SYS_exit,
        SYS_exit_group, SYS_sched_yield, SYS_sched_getaffinity, SYS_sched_setaffinity, SYS_sched_getparam, SYS_sched_getscheduler, SYS_sched_setscheduler,
        SYS_getpriority, SYS_setpriority, SYS_ioprio_set, SYS_ioprio_get, SYS_getcpu, SYS_prctl, SYS_getrusage, SYS_prlimit64,
        SYS_sysinfo, SYS_uname, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_restart_syscall,
        // Signals, of which tgkill is how a process aborts.
        SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigpending, SYS_sigaltstack, SYS_tgkill, SYS_signalfd4,
        // Clocks and timers.
        SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday, SYS_timerfd_create,
        SYS_timerfd_settime, SYS_getrandom,
        // Files.
        SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_preadv, SYS_pwritev, SYS_preadv2, SYS_pwritev2,
        SYS_openat, SYS_close, SYS_close_range, SYS_lseek, SYS_fstat, SYS_newfstatat, SYS_statx, SYS_statfs, SYS_fstatfs, SYS_faccessat,
        SYS_faccessat2, SYS_readlinkat, SYS_getdents64, SYS_getcwd, SYS_fsync, SYS_fdatasync, SYS_sync_file_range, SYS_fallocate,
        SYS_ftruncate, SYS_truncate, SYS_renameat, SYS_renameat2, SYS_unlinkat, SYS_mkdirat, SYS_linkat, SYS_symlinkat, SYS_fchmod,
        SYS_fchmodat, SYS_utimensat, SYS_fcntl, SYS_flock, SYS_fadvise64, SYS_readahead, SYS_dup, SYS_dup3, SYS_ioctl, SYS_umask,
        SYS_copy_file_range, SYS_sendfile, SYS_memfd_create, SYS_pipe2,
        // Sockets and waiting for them.
        SYS_socket, SYS_socketpair, SYS_bind, SYS_listen, SYS_accept, SYS_accept4, SYS_connect, SYS_shutdown, SYS_getsockname,
        SYS_getpeername, SYS_setsockopt, SYS_getsockopt, SYS_sendto, SYS_recvfrom, SYS_sendmsg, SYS_recvmsg, SYS_sendmmsg, SYS_recvmmsg,
        SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_eventfd2, SYS_ppoll, SYS_pselect6,
    ];

    /// Calls that only the oldest of the architectures has.
    #[cfg(target_arch = "x86_64")]
    #[rustfmt::skip]
    const ALLOWED_HERE: &[c_long] = &[
        SYS_arch_prctl, SYS_open, SYS_stat, SYS_lstat, SYS_access, SYS_readlink, SYS_rename, SYS_unlink, SYS_mkdir, SYS_rmdir, SYS_chmod,
        SYS_poll, SYS_select, SYS_epoll_wait, SYS_epoll_create, SYS_eventfd, SYS_pipe, SYS_dup2, SYS_time, SYS_getdents, SYS_link,
    ];
    #[cfg(not(target_arch = "x86_64"))]
    const ALLOWED_HERE: &[c_long] = &[];

    pub(super) fn calls() -> Result<(), String> {
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().chain(ALLOWED_HERE).map(|call| (*call, Vec::new())).collect();
        // A thread, never a process. clone3 hides its flags from filters: without it the C library uses clone.
        let thread = u64::try_from(CLONE_THREAD).unwrap_or_default();
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(thread), thread);
        let rule = condition.and_then(|condition| SeccompRule::new(vec![condition])).map_err(|error| error.to_string())?;
        rules.insert(SYS_clone, vec![rule]);
        let arch = std::env::consts::ARCH.try_into().map_err(|_| "no filter for this architecture".to_owned())?;
        let no_such_call = SeccompAction::Errno(ENOSYS.unsigned_abs());
        let filter = SeccompFilter::new(rules, no_such_call, SeccompAction::Allow, arch).map_err(|error| error.to_string())?;
        let program: BpfProgram = filter.try_into().map_err(|error: seccompiler::BackendError| error.to_string())?;
        seccompiler::apply_filter(&program).map_err(|error| error.to_string())
    }
}
