// How fast a processor multiplies pairs of bfloat16. Its flags do not tell: Zen 4 is expected to start as many VDPBF16PS as float32 products in
// registers of the same width, Sapphire and Emerald Rapids a quarter.
#include <time.h>

#include "cpu/kernels.h"
#include "cpu/pairs.h"

namespace kv8::cpu::KV8_ISA {
namespace {

constexpr int kChains = 12;  // hides an operation's latency of up to 6 cycles, at two in a cycle
constexpr int kSteps = 1000;
constexpr int kRounds = 5;

double now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return double(time.tv_sec) * 1e9 + double(time.tv_nsec);
}

// The time of kSteps operations in each of kChains registers, in ns: the least of kRounds.
template <class Operation>
double least_time(const Operation& operation) {
    double least = 1e9;
    for (int round = 0; round < kRounds; round++) {
        rf sums[kChains] = {};
        const double begin = now();
        for (int step = 0; step < kSteps; step++)
            for (rf& sum : sums) sum = kept(operation(sum));
        for (rf& sum : sums) asm volatile("" : : "v"(sum));  // somebody wants them
        const double taken = now() - begin;
        if (taken < least) least = taken;
    }
    return least;
}

// An operation on pairs does the work of two products of float32, and spares their conversions; widening and the pairing of
// keys cost about as much more. It pays where it takes clearly less than two products.
bool measure() {
    const rp pair = all_pairs(0x3F803F80u);
    const rf one = kept(all(1.0f));
    // The first pass wakes the units for wide registers.
    double of_pairs = 0, of_floats = 0;
    for (int pass = 0; pass < 2; pass++) {
        of_floats = least_time(KV8_LAMBDA(rf sum) { return fused(one, one, sum); });
        of_pairs = least_time(KV8_LAMBDA(rf sum) { return add_products(sum, pair, pair); });
    }
    return of_pairs < 1.6 * of_floats;
}

}  // namespace

bool pairs_pay() {
    static const bool pay = measure();
    return pay;
}

}  // namespace kv8::cpu::KV8_ISA
