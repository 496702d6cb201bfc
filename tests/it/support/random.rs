//! Numbers that look random and are the same for the same seed (`SplitMix64`).

pub struct Random(u64);

impl Random {
    /// Seeded by `DEVPULSE_TEST_SEED`, else anew each time; printed, so that a run can be repeated.
    pub fn new() -> Self {
        let given = std::env::var("DEVPULSE_TEST_SEED").ok().map(|seed| seed.parse().unwrap());
        let seed = given.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
        println!("DEVPULSE_TEST_SEED={seed}");
        Self(seed)
    }

    pub const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to, not including, `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
