// One executable that needs a GPU's driver and nothing else: runs the regression suites on the first GPU, then measures it. The
// plug-ins are inside; what it found is written as JSON.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "benchmark.h"
#include "embedded_files.h"

namespace {

using namespace kv8_verify;

enum Exit { kPassed = 0, kFailed = 1, kWrongUsage = 2, kNoGpu = 3 };

constexpr const char* kUsage =
    "usage: kv8-gpu-verify [options]\n"
    "Runs kv8's regression suites on the first GPU of this machine, then measures attention, cache writes and casts.\n"
    "  --plugin FILE     a plug-in of kv8 to use instead of those inside\n"
    "  --out FILE        where the JSON goes (default: DATE-DEVICE.json here)\n"
    "  --tests-only      no measurements\n"
    "  --benchmarks-only no tests\n"
    "  --memory GIB      measures within so much device memory (default: 85 % of what is free)\n"
    "  --only REGEX      only the measurements in whose line REGEX is found, as 'decode: .*\"context\": 8192'\n"
    "  --tiny            the smallest measurement of each kind, once: tries the program\n"
    "  --sanitizer TOOL  runs the tests under compute-sanitizer: memcheck, racecheck, initcheck or synccheck\n"
    "  --gtest_...       options of GoogleTest, as --gtest_filter=Attention.*\n"
    "Exit code: 0 passed, 1 failed, 2 wrong usage, 3 no GPU that kv8 can use.\n";

struct Options {
    std::string plugin, out, memory, sanitizer;
    bool tests = true, benchmarks = true;
    BenchmarkOptions measured;
};

bool parse(int argc, char** argv, Options& options) {
    for (int i = 1; i < argc; i++) {
        const std::string word = argv[i];
        const auto value = [&](std::string& to) {
            if (i + 1 < argc) to = argv[++i];
            return !to.empty();
        };
        if (word == "--tests-only") {
            options.benchmarks = false;
        } else if (word == "--benchmarks-only") {
            options.tests = false;
        } else if (word == "--tiny") {
            options.measured.tiny = true;
        } else if (!(word == "--plugin"   ? value(options.plugin)
                     : word == "--out"    ? value(options.out)
                     : word == "--only"   ? value(options.measured.only)
                     : word == "--memory" ? value(options.memory)
                                          : word == "--sanitizer" && value(options.sanitizer))) {
            return false;
        }
    }
    if (!options.memory.empty()) {
        if (options.memory.find_first_not_of("0123456789") != std::string::npos || options.memory.size() > 6)
            return false;
        options.measured.most_gib = std::stoull(options.memory);
    }
    return options.tests || options.benchmarks;
}

// This program again, under compute-sanitizer, which ends with code 1 on what it finds. Does not return if it can.
int run_sanitizer(const std::string& tool, const std::string& plugin, const std::vector<std::string>& for_gtest) {
    std::vector<std::string> words = {"compute-sanitizer", "--tool", tool, "--error-exitcode", "1"};
    // kv8 asks the driver about every address, and the driver calls the host's an error.
    if (tool == "memcheck") words.insert(words.end(), {"--report-api-errors", "no"});
    char self[4096];
    const ssize_t length = readlink("/proc/self/exe", self, sizeof(self));
    words.push_back(length > 0 ? std::string(self, size_t(length)) : "/proc/self/exe");
    words.push_back("--tests-only");
    if (!plugin.empty()) words.insert(words.end(), {"--plugin", plugin});
    words.insert(words.end(), for_gtest.begin(), for_gtest.end());
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    setenv("KV8_ATTENTION_CASES", "40", 0);  // each instruction takes a hundred times as long
    execvp(arguments[0], arguments.data());
    words[0] = "/usr/local/cuda/bin/compute-sanitizer";
    arguments[0] = words[0].data();
    execv(arguments[0], arguments.data());
    fprintf(stderr,
            "compute-sanitizer is neither on PATH nor in /usr/local/cuda/bin; it comes with the CUDA toolkit.\n");
    return kWrongUsage;
}

// Whether a plug-in has a device; what is missing otherwise goes to standard error.
bool has_device(const std::string& name, const std::string& path) {
    kv8_backend* backend = nullptr;
    int32_t count = 0;
    if (path.empty()) {
        fprintf(stderr, "%s: not built into this program\n", name.c_str());
        return false;
    }
    if (kv8_backend_load(path.c_str(), &backend) != KV8_OK || kv8_device_count(backend, &count) != KV8_OK) {
        fprintf(stderr, "%s: %s\n", name.c_str(), kv8_last_error());
        return false;
    }
    if (count == 0) fprintf(stderr, "%s: the driver knows no device\n", name.c_str());
    return count > 0;
}

std::string usable_plugin(const Options& options) {
    if (!options.plugin.empty()) return has_device(options.plugin, options.plugin) ? options.plugin : "";
    for (const char* name : {"libkv8_cuda.so", "libkv8_rocm.so"}) {
        const std::string path = embedded_file(name);
        if (has_device(name, path)) return path;
    }
    return {};
}

std::string date(const char* format) {
    const std::time_t now = std::time(nullptr);
    char text[64];
    std::strftime(text, sizeof(text), format, std::gmtime(&now));
    return text;
}

// A string for JSON: names of devices have no quotes, but who knows.
std::string quoted(const std::string& text) {
    std::string result = "\"";
    for (char c : text) {
        if (c == '"' || c == '\\') result += '\\';
        result += c < ' ' && c >= 0 ? ' ' : c;
    }
    return result + '"';
}

std::string file_name(const TestDevice& device) {
    std::string name = date("%Y-%m-%d-") + device.info().name + ".json";
    for (char& c : name)
        if (!isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '.') c = '-';
    return name;
}

std::string device_json(const TestDevice& device) {
    const kv8_device_info& info = device.info();
    return "\"device\": {\"name\": " + quoted(info.name) + ", \"arch\": " + quoted(info.arch) +
           ", \"driver\": " + quoted(info.driver) + ", \"emulated\": " + (device.is_emulated() ? "true" : "false") +
           ", \"memory_bytes\": " + std::to_string(info.memory_bytes) + "}";
}

std::string tests_json() {
    const testing::UnitTest& unit = *testing::UnitTest::GetInstance();
    return "\"tests\": {\"passed\": " + std::to_string(unit.successful_test_count()) +
           ", \"failed\": " + std::to_string(unit.failed_test_count()) +
           ", \"skipped\": " + std::to_string(unit.skipped_test_count()) +
           ", \"seconds\": " + std::to_string(unit.elapsed_time() / 1000) + "}";
}

int verify(const Options& options) {
    const std::string plugin = usable_plugin(options);
    if (plugin.empty()) {
        fprintf(stderr, "No GPU that kv8 can use: see above for what is missing.\n");
        return kNoGpu;
    }
    setenv("KV8_TEST_PLUGIN", plugin.c_str(), 1);
    const std::string emulator = embedded_file("libkv8_emulator_sm_90.so");
    if (!emulator.empty()) setenv("KV8_TEST_EMULATOR", emulator.c_str(), 1);
    const UnpackedFolder goldens("goldens");
    setenv("KV8_GOLDENS", goldens.path().c_str(), 0);

    const TestDevice& device = *kv8_test::devices().front();
    if (!device.is_gpu()) throw std::logic_error("a suite opened the CPU before the plug-in was chosen");
    std::string json = "{\"date\": " + quoted(date("%Y-%m-%dT%H:%M:%SZ")) + ",\n" + device_json(device);
    const bool passed = !options.tests || RUN_ALL_TESTS() == 0;
    if (options.tests) json += ",\n" + tests_json();
    if (options.benchmarks && passed) json += ",\n" + benchmark(device, options.measured);
    json += "}\n";
    const std::string out = options.out.empty() ? file_name(device) : options.out;
    if (!(std::ofstream(out) << json << std::flush)) {
        std::cout << json;
        fprintf(stderr, "%s cannot be written.\n", out.c_str());
        return kFailed;
    }
    fprintf(stderr, "%s: %s\n", out.c_str(), passed ? "passed" : "FAILED, so nothing was measured");
    return passed ? kPassed : kFailed;
}

}  // namespace

int main(int argc, char** argv) {
    // GoogleTest takes what is its own from the arguments, and under compute-sanitizer another run wants it.
    std::vector<std::string> for_gtest;
    std::copy_if(argv + 1, argv + argc, std::back_inserter(for_gtest),
                 [](const std::string& word) { return word.rfind("--gtest_", 0) == 0; });
    testing::InitGoogleTest(&argc, argv);
    Options options;
    if (!parse(argc, argv, options)) {
        fputs(kUsage, stderr);
        return kWrongUsage;
    }
    try {
        return options.sanitizer.empty() ? verify(options)
                                         : run_sanitizer(options.sanitizer, options.plugin, for_gtest);
    } catch (const std::exception& failure) {
        fprintf(stderr, "%s\n", failure.what());
        return kFailed;
    }
}
