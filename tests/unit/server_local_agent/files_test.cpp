#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "local_agent/console_log.hpp"
#include "local_agent/file_util.hpp"
#include "local_agent/kernel_files.hpp"
#include "rig.hpp"

using namespace rig;
using bai::server::local::KernelFiles;

namespace {

Bytes bytes(std::string_view text) { return {text.begin(), text.end()}; }

struct Files {
  Files() {
    std::filesystem::create_directories(temp.path / "work");
    std::ofstream(temp.path / "secret") << "outside";
    std::filesystem::create_directory(temp.path / "work-too");
    std::ofstream(temp.path / "work-too/secret") << "outside";
  }
  std::string kind(const std::string& path) const {
    const auto result = files.download(path);
    return result ? "" : result.error().kind;
  }
  // What the host's tar makes of an archive.
  std::string listing(const Bytes& archive, const std::string& options = "tvf") const {
    const auto file = temp.path / "archive.tar";
    std::ofstream(file, std::ios::binary)
        .write(reinterpret_cast<const char*>(archive.data()),
               static_cast<std::streamsize>(archive.size()));
    FILE* pipe = ::popen(("tar " + options + " " + file.string() + " 2>&1").c_str(), "r");
    std::string text;
    char buffer[4096];
    while (const auto got = std::fread(buffer, 1, sizeof buffer, pipe)) text.append(buffer, got);
    CHECK(::pclose(pipe) == 0);
    return text;
  }
  TempDir temp;
  std::string work = temp.path / "work";
  KernelFiles files{work};
};

}  // namespace

TEST_CASE_FIXTURE(Files, "files go in, are listed and come out as tar") {
  REQUIRE(files.upload("a/b/hello.txt", bytes("hello")));
  REQUIRE(files.upload("a/b/hello.txt", bytes("bye")));  // replaced, not appended
  REQUIRE(files.upload("/home/work/top", bytes("")));
  REQUIRE(files.upload(work + "/abs", bytes("x")));
  const std::string long_name(180, 'n');
  REQUIRE(files.upload("a/" + long_name, bytes("long")));
  std::filesystem::create_symlink("hello.txt", work + "/a/b/link");

  const auto list = files.list("a/b");
  REQUIRE(list);
  CHECK((*list)["abspath"].as_string() == work + "/a/b");
  CHECK((*list)["errors"].as_string().empty());
  const auto entries = Json::parse((*list)["files"].as_string());
  REQUIRE(entries);
  REQUIRE(entries->size() == 2);
  const Json& hello = entries->items()[0];
  CHECK(hello["filename"].as_string() == "hello.txt");
  CHECK(hello["size"].as_int() == 3);
  CHECK(hello["mode"].as_string() == "-rw-r--r--");
  CHECK(hello["mtime"].as_double() > 1e9);
  CHECK(entries->items()[1]["mode"].as_string().starts_with("l"));
  CHECK(Json::parse((*files.list("."))["files"].as_string())->size() == 3);

  const auto single = files.download_single("a/b/hello.txt");
  REQUIRE(single);
  CHECK(single->size() % 512 == 0);
  CHECK(listing(*single, "xOf") == "bye");
  CHECK(listing(*single, "tf") == "hello.txt\n");
  const auto tree = files.download("a");
  REQUIRE(tree);
  CHECK(listing(*tree, "tf") == "a/\na/b/\na/b/hello.txt\na/b/link\na/" + long_name + "\n");
  CHECK(listing(*tree).find("link -> hello.txt") != std::string::npos);
  CHECK(files.download_single("a").error().kind == "IsADirectoryError");
}

TEST_CASE_FIXTURE(Files, "nothing leads out of the work directory") {
  std::filesystem::create_symlink("../secret", work + "/relative");
  std::filesystem::create_symlink(temp.path / "secret", work + "/absolute");
  std::filesystem::create_symlink("..", work + "/up");
  std::filesystem::create_symlink("/proc/self/root", work + "/magic");
  for (const char* path :
       {"..", "../secret", "a/../../secret", "/etc/passwd", "/home/work/../x", "relative",
        "absolute", "up", "up/secret", "magic/etc/passwd", "/home/workers"}) {
    CAPTURE(path);
    const auto down = kind(path);
    CHECK((down == "PermissionError" || (down == "FileNotFoundError" && path[0] == 'a')));
    const auto up = files.upload(path, bytes("evil"));
    REQUIRE(!up);
    const auto list = files.list(path);
    REQUIRE(!list);
  }
  CHECK(kind(temp.path / "work-too/secret") == "PermissionError");
  CHECK(files.upload("up/new/file", bytes("evil")).error().kind == "PermissionError");
  CHECK(!std::filesystem::exists(temp.path / "new"));
  std::ifstream secret(temp.path / "secret");
  std::string text;
  secret >> text;
  CHECK(text == "outside");
  // A tree that contains such links is archived with the links as they are.
  const auto tree = files.download(".");
  REQUIRE(tree);
  CHECK(listing(*tree).find("outside") == std::string::npos);
  CHECK(listing(*tree).find("work/relative -> ../secret") != std::string::npos);
}

TEST_CASE_FIXTURE(Files, "file errors and limits") {
  CHECK(kind("missing") == "FileNotFoundError");
  CHECK(files.list("missing").error().kind == "FileNotFoundError");
  REQUIRE(files.upload("file", bytes("x")));
  CHECK(files.upload("file/below", bytes("x")).error().kind == "NotADirectoryError");
  CHECK(files.list("file").error().kind == "NotADirectoryError");
  std::filesystem::create_directory(work + "/dir");
  CHECK(files.upload("dir", bytes("x")).error().kind == "IsADirectoryError");
  CHECK(kind(std::string("nul\0name", 8)) == "ValueError");
  CHECK(kind(std::string(5000, 'p')) == "ValueError");
  REQUIRE(::mkfifo((work + "/fifo").c_str(), 0600) == 0);  // must not wait for a writer
  CHECK(kind("fifo") == "ValueError");
  CHECK(kind(std::string(300, 'n')) == "ValueError");
  CHECK(!files.upload("fifo", bytes("x")));
  REQUIRE(files.download("."));

  using bai::server::local::kMaxDownloadBytes;
  REQUIRE(files.upload("most", Bytes(kMaxDownloadBytes, 'm')));
  CHECK(files.download_single("most"));
  REQUIRE(files.upload("more", Bytes(kMaxDownloadBytes + 1, 'm')));
  const auto more = files.download_single("more");
  REQUIRE(!more);
  CHECK(more.error().kind == "ValueError");
  CHECK(more.error().message.find("1048576") != std::string::npos);
  CHECK(kind(".") == "ValueError");
  CHECK(files.upload("huge", Bytes(bai::server::local::kMaxUploadBytes + 1)).error().kind ==
        "ValueError");
}

TEST_CASE("files over the wire") {
  Rig rig;
  REQUIRE(rig.start_agent());
  rig.must_create(1);
  REQUIRE(rig.call(UploadFile{kernel_id(1), "data/in.txt", bytes("from the client")}));
  CHECK(rig.query(1, "open('data/in.txt').read()").out == "'from the client'\n");
  rig.query(1, "open('out.txt', 'w').write('from the kernel')");
  const auto single = rig.call(DownloadSingle{kernel_id(1), "out.txt"});
  REQUIRE(single);
  CHECK(std::string(single->data.begin(), single->data.end()).find("from the kernel") !=
        std::string::npos);
  REQUIRE(rig.call(DownloadFile{kernel_id(1), "data"}));
  const auto list = rig.call(ListFiles{kernel_id(1), "."});
  REQUIRE(list);
  CHECK(list->value["files"].as_string().find("out.txt") != std::string::npos);
  CHECK(rig.call(UploadFile{kernel_id(1), "../x", bytes("x")}).error().kind == "PermissionError");
  CHECK(rig.call(DownloadFile{kernel_id(2), "x"}).error().kind == "KeyError");
}

TEST_CASE("UTF-8 in pieces") {
  using bai::server::local::clean_utf8;
  using bai::server::local::Utf8Stream;
  const std::string text = "aä€𝄞z";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    Utf8Stream stream;
    std::string joined = stream.feed(text.substr(0, cut));
    joined += stream.feed(text.substr(cut));
    CHECK(joined + stream.finish() == text);
  }
  const std::string bad = "\uFFFD";
  CHECK(clean_utf8("a\xff"
                   "b") == "a" + bad + "b");
  CHECK(clean_utf8("\xc0\xaf") == bad + bad);            // overlong
  CHECK(clean_utf8("\xed\xa0\x80") == bad + bad + bad);  // surrogate
  CHECK(clean_utf8("\xf4\x90\x80\x80").find(bad) == 0);  // beyond the end of Unicode
  CHECK(clean_utf8("x\xe2\x82") == "x" + bad);           // cut short
}

TEST_CASE("the log file") {
  TempDir temp;
  const std::string path = temp.path / "log";
  bai::server::local::ConsoleLog log(path, 100);
  for (int i = 0; i < 50; ++i) log.append("0123456789\n");
  CHECK(std::filesystem::file_size(path) <= 100);
  log.append(std::string(1000, 'x') + "end");
  const std::string tail = bai::server::local::read_tail(path, 1000);
  CHECK(tail.size() <= 100);
  CHECK(tail.ends_with("xend"));
}
