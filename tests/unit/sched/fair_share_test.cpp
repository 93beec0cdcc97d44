// The arithmetic of fair shares, and the book that keeps them between passes.
#include "sched/fair_share.hpp"

#include <cmath>
#include <random>

#include "sched/fair_share_book.hpp"
#include "world.hpp"

using namespace bai;
using namespace bai::sched;
using bai::test::numbered;

namespace {

constexpr std::int64_t kToday = 20'000;

// Usage by age in days, decayed.
double decayed(const std::vector<std::pair<std::int64_t, double>>& usage,
               FairShareSettings settings = {}) {
  double sum = 0;
  for (const auto& [age, amount] : usage) {
    sum += amount * decay_of(settings, kToday, kToday - age);
  }
  return sum;
}

Timestamp at_day(std::int64_t day, std::int64_t second = 0) {
  return {day * kDayNs + second * 1'000'000'000};
}

// A naive reckoning over all kernels, for the book to agree with.
struct NaiveKernel {
  Timestamp start;
  std::int64_t cpu = 0, mem = 0;
};
double naive_decayed(const std::vector<NaiveKernel>& kernels, bool mem, Timestamp now,
                     const FairShareSettings& settings) {
  double sum = 0;
  const std::int64_t today = day_of(now);
  for (const NaiveKernel& kernel : kernels) {
    for (std::int64_t day = today - settings.lookback_days + 1; day <= today; ++day) {
      const std::int64_t from = std::max(kernel.start.ns, day * kDayNs);
      const std::int64_t until = std::min(now.ns, (day + 1) * kDayNs);
      if (until <= from) continue;
      const double seconds = static_cast<double>(until - from) / 1e9;
      const double amount = static_cast<double>(mem ? kernel.mem : kernel.cpu);
      sum += decay_of(settings, today, day) * seconds * amount / (mem ? 1048576.0 : 1.0);
    }
  }
  return sum;
}

}  // namespace

TEST_CASE("O1 usage of today counts in full") { CHECK(decayed({{0, 1000}}) == 1000); }

TEST_CASE("O2 usage of a half-life ago counts half") { CHECK(decayed({{7, 1000}}) == 500); }

TEST_CASE("O4 the half-life is a setting") {
  CHECK(decayed({{7, 1000}}, {.half_life_days = 14}) == doctest::Approx(707.107).epsilon(1e-6));
}

TEST_CASE("O5 days add up") { CHECK(decayed({{0, 1000}, {7, 1000}}) == 1500); }

TEST_CASE("usage fades in whole decay units, and ends with the lookback") {
  const FairShareSettings weekly{.half_life_days = 7, .decay_unit_days = 7};
  CHECK(decayed({{6, 1000}}, weekly) == 1000);
  CHECK(decayed({{7, 1000}}, weekly) == 500);
  CHECK(decayed({{13, 1000}}, weekly) == 500);
  CHECK(decayed({{27, 1000}}) > 0);
  CHECK(decayed({{28, 1000}}) == 0);
  CHECK(decayed({{-1, 1000}}) == 1000);  // a clock that went back
}

TEST_CASE("O7 nothing used, the whole factor") { CHECK(fair_share_factor(0, 1000) == 1.0); }

TEST_CASE("O8 all used at weight one, half of it") {
  CHECK(fair_share_factor(1, 1000) == 0.5);
  CHECK(fair_share_factor(1, 2000) == doctest::Approx(std::sqrt(0.5)));
  CHECK(fair_share_factor(1, 0) == 0);
}

TEST_CASE("O10 a slot without capacity does not count") {
  const double day = 86'400 * 28;
  const SlotUsage cpu{.decayed = 1000 * day, .capacity = 2000};
  const SlotUsage none{.decayed = 5000 * day, .capacity = 0};
  CHECK(normalized_usage(std::vector{cpu}, 28) == doctest::Approx(0.5));
  CHECK(normalized_usage(std::vector{cpu, none}, 28) == doctest::Approx(0.5));
  CHECK(normalized_usage(std::vector{none}, 28) == 0);
  const SlotUsage idle{.decayed = 0, .capacity = 10, .weight_milli = 3000};
  CHECK(normalized_usage(std::vector{cpu, idle}, 28) == doctest::Approx(0.125));  // weighted mean
  const SlotUsage mem{.decayed = 512 * day, .capacity = 1 << 30, .type = SlotType::Size};
  CHECK(normalized_usage(std::vector{mem}, 28) == doctest::Approx(0.5));
}

TEST_CASE("O11 the same usage makes a lower factor when it is recent") {
  const auto factor = [](std::int64_t age) {
    const SlotUsage usage{.decayed = decayed({{age, 1e9}}), .capacity = 1000};
    return fixed_factor(fair_share_factor(normalized_usage(std::vector{usage}, 28), 1000));
  };
  const std::int32_t recent = factor(0), old = factor(14);
  CHECK(recent < old);
}

TEST_CASE("O13 however much was used, the factor stays within its bounds") {
  CHECK(fair_share_factor(1e300, 1000) == std::exp2(-10.0));
  CHECK(fair_share_factor(1e300, 1) == std::exp2(-10.0));
  CHECK(fair_share_factor(-1e300, 1000) == 1.0);
  CHECK(fixed_factor(1.0) == kFairShareOne);
  CHECK(fixed_factor(0.0) == 0);
}

TEST_CASE("resource weights") {
  CHECK(resource_weight_milli({}, "cpu") == 1000);
  CHECK(resource_weight_milli({}, "mem") == 1);
  CHECK(resource_weight_milli({}, "cuda.device") == 10'000);
  CHECK(resource_weight_milli({}, "tpu.device") == 1000);
  const FairShareSettings own{.resource_weights = {{"mem", {5}}}};
  CHECK(resource_weight_milli(own, "mem") == 5);
}

TEST_CASE("days as text") {
  CHECK(day_text(0) == "1970-01-01");
  CHECK(day_text(day_of(at_day(kToday, 86'399))) == day_text(kToday));
  CHECK(day_of(at_day(kToday, 86'400)) == kToday + 1);
  CHECK(day_of(Timestamp{-1}) == -1);
  CHECK(parse_day(day_text(kToday)) == kToday);
  CHECK(parse_day("2024-02-29").has_value());
  for (const char* bad :
       {"", "2023-02-29", "2024-13-01", "2024-2-01", "2024/02/01", "20240201xx"}) {
    CHECK_FALSE(parse_day(bad).has_value());
  }
}

TEST_CASE("usage is counted in thousandths and MiB, and never wraps") {
  CHECK(usage_of(SlotType::Count, 2000, 3'000'000'000) == 6000);
  CHECK(usage_of(SlotType::Size, std::int64_t{3} << 20, 2'000'000'000) == 6);
  CHECK(usage_of(SlotType::Count, 1000, -5) == 0);
  CHECK(usage_of(SlotType::Count, kInfiniteAmount.units, kDayNs) == kInfiniteAmount.units);
}

TEST_CASE("the book agrees with a naive reckoning, kernel by kernel and day by day") {
  std::mt19937_64 random(3);
  Names slots;
  const SlotIndex cpu = slots.intern("cpu"), mem = slots.intern("mem");
  REQUIRE(cpu < mem);
  const std::vector<SlotType> types{SlotType::Count, SlotType::Size};
  const std::vector<std::int64_t> capacities{100'000, std::int64_t{1} << 40};
  const Owner owner{numbered<UserId>(1), numbered<ProjectId>(1), DomainName("d"), {}};
  FairShareSettings settings{.half_life_days = 3, .lookback_days = 9, .decay_unit_days = 2};
  GroupShares book;
  const auto scopes = book.scopes_of(owner);
  for (const ScopeKind kind : {ScopeKind::Domain, ScopeKind::Project, ScopeKind::User}) {
    FairShare row;
    row.scope_kind = kind;
    row.scope = kind == ScopeKind::Domain    ? owner.domain.str()
                : kind == ScopeKind::Project ? to_string(owner.project)
                                             : to_string(owner.user);
    book.set_row(row, slots);
  }
  std::vector<NaiveKernel> kernels;
  const auto amounts = [](const NaiveKernel& k) {
    return SlotMap{{"cpu", Amount{k.cpu}}, {"mem", Amount{k.mem}}};
  };
  std::uint64_t version = 0;
  for (int step = 0; step < 2000; ++step) {
    const Timestamp now = at_day(kToday + step / 100, static_cast<std::int64_t>(random() % 86'400));
    if (random() % 3 != 0 || kernels.empty()) {
      const NaiveKernel kernel{
          at_day(kToday + step / 100 - static_cast<std::int64_t>(random() % 15),
                 static_cast<std::int64_t>(random() % 86'400)),
          static_cast<std::int64_t>(random() % 4000),
          static_cast<std::int64_t>(random() % (std::int64_t{1} << 33))};
      if (kernel.start > now) continue;
      kernels.push_back(kernel);
      book.count_running(scopes, kernel.start, amounts(kernel), slots, 1);
    } else {
      const std::size_t at = random() % kernels.size();
      book.count_running(scopes, kernels[at].start, amounts(kernels[at]), slots, -1);
      kernels.erase(kernels.begin() + static_cast<std::ptrdiff_t>(at));
    }
    if (std::ranges::any_of(kernels, [&](const NaiveKernel& k) { return k.start > now; })) continue;
    const std::vector<SlotUsage> usage{
        {naive_decayed(kernels, false, now, settings), capacities[0], types[0], 1000},
        {naive_decayed(kernels, true, now, settings), capacities[1], types[1], 1}};
    const std::int32_t expected =
        fixed_factor(fair_share_factor(normalized_usage(usage, settings.lookback_days), 1000));
    const auto factors =
        book.factors(0, owner, settings, {now, ++version, capacities, types}, slots);
    CHECK(std::abs(factors.user - expected) <= 2);
    CHECK(factors.domain == factors.user);
    CHECK(factors.project == factors.user);
  }
}

TEST_CASE("factors that are kept are those of a book that knows nothing yet") {
  std::mt19937_64 random(5);
  Names slots;
  slots.intern("cpu");
  const std::vector<SlotType> types{SlotType::Count};
  const FairShareSettings settings{.half_life_days = 2, .lookback_days = 5, .decay_unit_days = 1};
  std::vector<Owner> owners;
  std::vector<FairShare> rows(4);
  std::vector<std::vector<NaiveKernel>> kernels(rows.size());
  for (std::uint64_t i = 0; i < rows.size(); ++i) {
    owners.push_back({numbered<UserId>(i + 1), numbered<ProjectId>(1), DomainName("d"), {}});
    rows[i].scope_kind = ScopeKind::User;
    rows[i].scope = to_string(owners[i].user);
  }
  std::vector<std::int64_t> capacities{50'000};
  GroupShares kept;
  for (const FairShare& row : rows) kept.set_row(row, slots);
  std::uint64_t version = 1, now_s = 0, kept_over_time = 0;
  std::vector<std::int32_t> last(rows.size(), -1);
  for (int step = 0; step < 1500; ++step) {
    now_s += random() % 4000;
    const Timestamp now = at_day(kToday, static_cast<std::int64_t>(now_s));
    const std::size_t who = random() % rows.size();
    const auto amounts = [](const NaiveKernel& k) { return SlotMap{{"cpu", Amount{k.cpu}}}; };
    const auto what = random() % 4;
    if (what == 0) {
      rows[who].buckets = Json::object(
          {{day_text(day_of(now)),
            Json::object({{"cpu", static_cast<std::int64_t>(random() % 2'000'000'000)}})}});
      kept.set_row(rows[who], slots);
      ++version;
    } else if (what == 1 && random() % 2 == 0) {
      capacities[0] = 10'000 + static_cast<std::int64_t>(random() % 50'000);
      ++version;
    } else if (what == 2 && !kernels[who].empty()) {
      kept.count_running(kept.scopes_of(owners[who]), kernels[who].back().start,
                         amounts(kernels[who].back()), slots, -1);
      kernels[who].pop_back();
      ++version;
    } else if (what == 3 && kernels[who].size() < 2) {
      kernels[who].push_back({now, 1000, 0});
      kept.count_running(kept.scopes_of(owners[who]), now, amounts(kernels[who].back()), slots, 1);
      ++version;
    }
    GroupShares fresh;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      fresh.set_row(rows[i], slots);
      for (const NaiveKernel& kernel : kernels[i]) {
        fresh.count_running(fresh.scopes_of(owners[i]), kernel.start, amounts(kernel), slots, 1);
      }
    }
    for (std::uint32_t i = 0; i < rows.size(); ++i) {
      const auto factors =
          kept.factors(i, owners[i], settings, {now, version, capacities, types}, slots);
      CHECK(factors.user ==
            fresh.factors(i, owners[i], settings, {now, 1, capacities, types}, slots).user);
      if (kernels[i].empty() && factors.user == last[i]) ++kept_over_time;
      last[i] = factors.user;
    }
  }
  CHECK(kept_over_time > 500);
}
