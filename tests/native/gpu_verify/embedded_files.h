// Files inside the executable, which the build puts there: plug-ins, and the goldens of the attention suite.
#pragma once

#include <string>

namespace kv8_verify {

// A file of that name as a path that can be opened as long as the process lives; empty if there is none.
std::string embedded_file(const std::string& name);

// Writes all files below a folder, "goldens" say, to a new folder, and returns its path.
class UnpackedFolder {
  public:
    explicit UnpackedFolder(const std::string& name);
    ~UnpackedFolder();
    UnpackedFolder(const UnpackedFolder&) = delete;
    UnpackedFolder& operator=(const UnpackedFolder&) = delete;

    const std::string& path() const { return path_; }

  private:
    std::string path_;
};

}  // namespace kv8_verify
