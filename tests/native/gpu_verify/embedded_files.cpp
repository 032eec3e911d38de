#include "embedded_files.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "gpu/host/images.h"

namespace kv8_verify {
namespace {

using kv8::gpu::EmbeddedImage;

const char* data(const EmbeddedImage& file) { return static_cast<const char*>(file.begin); }
size_t size(const EmbeddedImage& file) { return size_t(static_cast<const char*>(file.end) - data(file)); }

}  // namespace

std::string embedded_file(const std::string& name) {
    const kv8::gpu::Images all = kv8::gpu::images();
    for (const EmbeddedImage* file = all.begin; file != all.end; file++) {
        if (name != file->module) continue;
        const int descriptor = memfd_create(name.c_str(), 0);
        if (descriptor < 0 || write(descriptor, data(*file), size(*file)) != ssize_t(size(*file)))
            throw std::runtime_error("no memory for " + name);
        return "/proc/self/fd/" + std::to_string(descriptor);
    }
    return {};
}

UnpackedFolder::UnpackedFolder(const std::string& name) {
    std::string pattern = (std::filesystem::temp_directory_path() / "kv8-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no folder can be made: " + pattern);
    path_ = pattern;
    const kv8::gpu::Images all = kv8::gpu::images();
    for (const EmbeddedImage* file = all.begin; file != all.end; file++) {
        const std::string file_name = file->module;
        if (file_name.rfind(name + "/", 0) != 0) continue;
        const std::filesystem::path to = path_ + file_name.substr(name.size());
        std::filesystem::create_directories(to.parent_path());
        std::ofstream(to, std::ios::binary).write(data(*file), std::streamsize(size(*file)));
    }
}

UnpackedFolder::~UnpackedFolder() { std::filesystem::remove_all(path_); }

}  // namespace kv8_verify
