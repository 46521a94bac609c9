use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, Options};

/// Budgets of the one RocksDB, shared by all chains.
#[derive(Clone, Copy, Debug)]
pub struct RocksOptions {
    /// Bytes of the block cache.
    pub cache_bytes: usize,
    /// Bytes of unflushed writes, over all chains.
    pub write_buffer_bytes: usize,
    /// Threads for flushes and compactions.
    pub background_jobs: i32,
    /// Column families kept ready for new chains.
    pub families_ready: usize,
    /// Column families to have when it opens. Those that lack are made together: one by one, each takes as long as there are many.
    pub families_at_open: usize,
    /// No block is written any more when the disk has less left than this. Parts of it are for votes, and for what makes room.
    pub disk_free_bytes_min: u64,
}

/// What flushes and compactions of all chains may write together: a third of what a small machine's disk takes.
const BACKGROUND_BYTES_PER_SECOND: i64 = 128 << 20;

impl RocksOptions {
    /// Budgets for a machine that has other things to do: a developer's, or a test's.
    pub const SMALL: Self = Self {
        cache_bytes: 64 << 20,
        write_buffer_bytes: 64 << 20,
        background_jobs: 2,
        families_ready: 1,
        families_at_open: 0,
        disk_free_bytes_min: 0,
    };

    pub(super) fn database(&self) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_db_write_buffer_size(self.write_buffer_bytes);
        options.set_max_background_jobs(self.background_jobs);
        // One chain's compactions must not take the disk from all others' synced writes.
        options.set_ratelimiter(BACKGROUND_BYTES_PER_SECOND, 100_000, 10);
        // Bounds what is replayed on open, which is most of the time that takes.
        options.set_max_total_wal_size(64 << 20);
        options.set_max_open_files(1024);
        options.set_keep_log_file_num(2);
        options.set_bytes_per_sync(1 << 20);
        // A torn last record was never acknowledged and goes; damage anywhere else must not pass for a shorter history.
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        options
    }
}

fn table() -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_bloom_filter(10.0, false);
    table
}

/// Options of a file that a chain's family takes.
pub(super) fn file() -> Options {
    let mut options = Options::default();
    options.set_block_based_table_factory(&table());
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_bytes_per_sync(1 << 20);
    options
}

/// Options of a chain's family.
pub(super) fn family(cache: &Cache) -> Options {
    let mut table = table();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    // Idle families cost their arena: 90 KiB each with 64 KiB blocks, 1 MiB with the default.
    options.set_arena_block_size(64 << 10);
    options.set_write_buffer_size(16 << 20);
    options
}
