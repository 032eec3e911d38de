// What the GPU plug-ins ask of the vendors' libraries of matrix products, on stubs that really multiply (stubs/blas_lt_stub.h);
// and what the libraries' answers become.
#include "gpu_driver.h"
#include "product.h"
#include "stubs/blas_lt_stub.h"

namespace kv8_test {
namespace {

class GpuMatmul : public GpuDriver {
  protected:
    const std::string blas_path = library(is_cuda() ? "kv8_cublas_lt_stub" : "kv8_hipblas_lt_stub");
    BlasStub& blas =
        *reinterpret_cast<BlasStub* (*)()>(dlsym(dlopen(blas_path.c_str(), RTLD_NOW | RTLD_LOCAL), "kv8_blas_stub"))();
    std::mt19937 random{20240607};

    void SetUp() override {
        GpuDriver::SetUp();
        ASSERT_TRUE(blas.objects.empty());
        blas = BlasStub{};
        setenv("KV8_BLAS_LIBRARY", blas_path.c_str(), 1);
        ASSERT_EQ(open(), KV8_OK) << kv8_last_error();
    }
    void TearDown() override {
        GpuDriver::TearDown();
        unsetenv("KV8_BLAS_LIBRARY");
        EXPECT_TRUE(blas.objects.empty()) << blas.objects.size() << " objects of the library were left behind";
    }

    kv8_status multiply(const Product& product, kv8_stream* stream = nullptr) {
        return kv8_matmul(device, stream, &product.args);
    }
    int allocations() { return stub.calls[either("cuMemAlloc_v2", "hipMalloc")]; }
};

INSTANTIATE_TEST_SUITE_P(On, GpuMatmul, testing::Values(kCuda, kRocm), name_of_vendor);

TEST_P(GpuMatmul, TellsTheLibraryWhatIsWhere) {
    const kv8_dtype plain[] = {KV8_F32, KV8_F16, KV8_BF16};
    for (kv8_dtype from : plain)
        for (kv8_dtype to : {from, kv8_dtype{KV8_F32}})
            for (bool has_bias : {false, true})
                for (Shape shape : {Shape{1, 1, 1}, {3, 24, 37}, {17, 48, 200}}) {
                    SCOPED_TRACE(testing::Message()
                                 << from << " to " << to << ", bias " << has_bias << ", [" << shape.tokens << "]["
                                 << shape.inputs << "] by [" << shape.outputs << "]");
                    Product product(from, to, shape, has_bias, random);
                    ASSERT_EQ(multiply(product), KV8_OK) << kv8_last_error();
                    product.expect_right();
                }
}

TEST_P(GpuMatmul, GivesEveryCallItsOwnBias) {
    const Shape shape{3, 8, 16};
    Product first(KV8_BF16, KV8_BF16, shape, true, random), second(KV8_BF16, KV8_BF16, shape, true, random);
    for (Product* product : {&first, &second, &first}) {
        ASSERT_EQ(multiply(*product), KV8_OK) << kv8_last_error();
        product->expect_right();
    }
}

TEST_P(GpuMatmul, ChoosesOneAlgorithmForAllNumbersOfRows) {
    Product product(KV8_BF16, KV8_BF16, {200, 16, 64}, false, random);
    for (int tokens : {7, 1, 200, 64, 1}) {
        product.args.tokens = tokens;
        ASSERT_EQ(multiply(product), KV8_OK) << kv8_last_error();
    }
    EXPECT_EQ(blas.rows_of_heuristics, std::vector<uint64_t>{64});
    ASSERT_EQ(blas.products.size(), 5u);
    for (const BlasStub::Product& made : blas.products) EXPECT_EQ(made.algorithm, 1);
    EXPECT_EQ(blas.products[2].rows, 200u);
    product.expect_right();
    if (is_cuda()) {
        EXPECT_EQ(blas.reduction_schemes, 2u);  // a sum's parts are added in float32
        for (uint32_t alignment : blas.alignments) EXPECT_EQ(alignment, 16u);
    }

    // Another shape has its own.
    Product other(KV8_BF16, KV8_F32, {7, 16, 64}, false, random);
    ASSERT_EQ(multiply(other), KV8_OK) << kv8_last_error();
    EXPECT_EQ(blas.rows_of_heuristics.size(), 2u);
    EXPECT_EQ(blas.products.back().algorithm, 4);
}

TEST_P(GpuMatmul, TakesALoneRowsStrideForTheBatchs) {
    const kv8_span x = allocate(64 * 64), y = allocate(64 * 64), weights = allocate(16 * 32 * 2);
    kv8_matmul_args args{};
    args.struct_size = sizeof(args);
    args.outputs = 16;
    args.inputs = 32;
    args.x.dtype = args.y.dtype = args.weights_dtype = KV8_F16;
    args.x.data = x;
    args.y.data = y;
    args.weights = weights;
    args.tokens = 1;
    for (int64_t stride : {int64_t{0}, int64_t{64}, int64_t{-1}}) {
        args.x.token_stride = args.y.token_stride = stride;
        ASSERT_EQ(kv8_matmul(device, nullptr, &args), KV8_OK) << kv8_last_error();
    }
    EXPECT_EQ(blas.rows_of_heuristics.size(), 1u);
    if (!is_cuda()) return;
    EXPECT_EQ(blas.alignments[0], 16u);
    // What is aligned worse has an algorithm of its own.
    args.weights.ptr += 6;
    args.outputs = 8;
    ASSERT_EQ(kv8_matmul(device, nullptr, &args), KV8_OK) << kv8_last_error();
    for (uint32_t alignment : blas.alignments) EXPECT_EQ(alignment, 2u);
}

TEST_P(GpuMatmul, PassesCandidatesOverThatDoNotDo) {
    blas.candidates = 6;
    blas.unfit = 5;
    Product product(KV8_F32, KV8_F32, {3, 8, 16}, true, random);
    ASSERT_EQ(multiply(product), KV8_OK) << kv8_last_error();
    EXPECT_EQ(blas.products.back().algorithm, 6);
    product.expect_right();
    if (is_cuda()) {
        EXPECT_EQ(blas.reduction_schemes, 0u);  // with a bias no sum is split
    }

    blas.unfit = 6;
    Product hopeless(KV8_F32, KV8_F32, {3, 8, 32}, true, random);
    EXPECT_REFUSED(
        multiply(hopeless), KV8_UNSUPPORTED,
        "no algorithm that serves every number of rows for 8 outputs of 32 inputs, x of dtype 0, y of 0, with bias");
    blas.unfit = 0;
    EXPECT_EQ(multiply(hopeless), KV8_OK) << kv8_last_error();
}

TEST_P(GpuMatmul, AsksWhetherOneRowAndManyAreServed) {
    blas.failures["MatmulAlgoCheck"] = 15;
    Product product(KV8_F32, KV8_F32, {3, 8, 16}, false, random);
    ASSERT_EQ(multiply(product), KV8_OK) << kv8_last_error();
    // hipBLASLt has no function for it in C.
    EXPECT_EQ(blas.products.back().algorithm, is_cuda() ? 2 : 1);
    EXPECT_EQ(blas.calls["MatmulAlgoCheck"], is_cuda() ? 3 : 0);
}

TEST_P(GpuMatmul, TakesAsManyRowsAtOnceAsTheWorkspaceServes) {
    blas.workspace_of_row = (32u << 20) / 300;
    Product product(KV8_F32, KV8_F32, {600, 8, 16}, true, random);
    ASSERT_EQ(multiply(product), KV8_OK) << kv8_last_error();
    product.expect_right();
    std::vector<uint64_t> rows;
    for (const BlasStub::Product& made : blas.products) rows.push_back(made.rows);
    // hipBLASLt has no function to ask.
    EXPECT_EQ(rows, is_cuda() ? (std::vector<uint64_t>{256, 256, 88}) : std::vector<uint64_t>{600});
}

TEST_P(GpuMatmul, TakesItsMemoryOnce) {
    const int before = allocations();
    Product product(KV8_BF16, KV8_BF16, {5, 16, 64}, true, random);
    ASSERT_EQ(multiply(product), KV8_OK) << kv8_last_error();
    EXPECT_EQ(allocations(), before + 1);
    const BlasStub::Product made = blas.products.back();
    const Stub::Memory* workspace = stub.find(made.workspace);
    ASSERT_NE(workspace, nullptr);
    EXPECT_EQ(workspace->bytes, 32u << 20);
    EXPECT_EQ(made.workspace_bytes, 32u << 20);
    const size_t objects = blas.objects.size();
    const std::map<std::string, int> calls = blas.calls;
    for (int i = 0; i < 3; i++) ASSERT_EQ(multiply(product), KV8_OK) << kv8_last_error();
    EXPECT_EQ(allocations(), before + 1);
    EXPECT_EQ(blas.objects.size(), objects);
    EXPECT_EQ(blas.calls["MatrixLayoutCreate"], calls.at("MatrixLayoutCreate"));
    EXPECT_EQ(blas.calls["MatmulDescCreate"], calls.at("MatmulDescCreate"));
    EXPECT_EQ(info().allocated_bytes, 0u);  // it is not the caller's
}

TEST_P(GpuMatmul, IsCapturedOnceItsShapeIsKnown) {
    kv8_stream* stream = nullptr;
    ASSERT_EQ(kv8_stream_create(device, &stream), KV8_OK) << kv8_last_error();
    Product product(KV8_BF16, KV8_BF16, {5, 16, 64}, true, random),
        other(KV8_BF16, KV8_BF16, {5, 24, 64}, true, random);
    stub.capturing = stub.streams;
    EXPECT_REFUSED(multiply(product, stream), KV8_INVALID_ARGUMENT, "first matrix product of 16 outputs and 64 inputs");
    stub.capturing.clear();
    ASSERT_EQ(multiply(product, stream), KV8_OK) << kv8_last_error();
    EXPECT_EQ(blas.products.back().stream, *stub.streams.begin());
    stub.capturing = stub.streams;
    product.args.tokens = 2;  // any number of rows
    EXPECT_EQ(multiply(product, stream), KV8_OK) << kv8_last_error();
    EXPECT_REFUSED(multiply(other, stream), KV8_INVALID_ARGUMENT, "first matrix product of 24 outputs and 64 inputs");
    EXPECT_EQ(stub.broken_captures, 0);
    stub.capturing.clear();
    EXPECT_EQ(kv8_stream_destroy(device, stream), KV8_OK) << kv8_last_error();
}

TEST_P(GpuMatmul, ChoosesForItsShapeWhileItsThreadCapturesAnotherStream) {
    kv8_stream* stream = nullptr;
    kv8_graph* graph = nullptr;
    ASSERT_EQ(kv8_stream_create(device, &stream), KV8_OK) << kv8_last_error();
    Product product(KV8_BF16, KV8_BF16, {5, 16, 64}, true, random);
    ASSERT_EQ(kv8_graph_begin(device, stream), KV8_OK) << kv8_last_error();
    EXPECT_EQ(multiply(product), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_graph_end(device, stream, &graph), KV8_OK) << kv8_last_error();
    EXPECT_EQ(stub.broken_captures, 0);
    EXPECT_EQ(kv8_stream_destroy(device, stream), KV8_OK) << kv8_last_error();
}

TEST_P(GpuMatmul, SaysWhichLibraryIsMissing) {
    Product product(KV8_F32, KV8_F32, {1, 8, 8}, false, random);
    const int before = allocations();
    setenv("KV8_BLAS_LIBRARY", "/nonexistent/libblas.so", 1);
    EXPECT_REFUSED(multiply(product), KV8_LIBRARY_MISSING,
                   "The library of matrix products /nonexistent/libblas.so cannot be opened");
    EXPECT_REFUSED(multiply(product), KV8_LIBRARY_MISSING, "KV8_BLAS_LIBRARY or -Dkv.blas.library");
    unsetenv("KV8_BLAS_LIBRARY");
    EXPECT_REFUSED(multiply(product), KV8_LIBRARY_MISSING, either("libcublasLt.so.13", "libhipblaslt.so.1"));
    EXPECT_REFUSED(multiply(product), KV8_LIBRARY_MISSING, either("libcublasLt.so.12", "libhipblaslt.so.0"));
    setenv("KV8_BLAS_LIBRARY", library("kv8_cuda_stub").c_str(), 1);
    EXPECT_REFUSED(multiply(product), KV8_LIBRARY_MISSING,
                   std::string("has no function ") + either("cublasLtCreate", "hipblasLtCreate"));
    EXPECT_EQ(allocations(), before);
    setenv("KV8_BLAS_LIBRARY", blas_path.c_str(), 1);
    EXPECT_EQ(multiply(product), KV8_OK) << kv8_last_error();
}

TEST_P(GpuMatmul, PrefersTheLibraryThatTheDeviceWasOpenedWith) {
    setenv("KV8_BLAS_LIBRARY", "/nonexistent/libblas.so", 1);
    kv8_device_options options{};
    options.struct_size = sizeof(options);
    std::string path = blas_path;
    options.blas_library = path.c_str();
    ASSERT_EQ(kv8_device_close(device), KV8_OK);
    ASSERT_EQ(kv8_device_open(backend, &options, &device), KV8_OK) << kv8_last_error();
    path.assign(path.size(), 'x');  // the caller's again
    Product product(KV8_F32, KV8_F32, {1, 8, 8}, false, random);
    EXPECT_EQ(multiply(product), KV8_OK) << kv8_last_error();
}

TEST_P(GpuMatmul, SaysWhichCallFailed) {
    Product product(KV8_F32, KV8_F32, {1, 8, 8}, true, random);
    const std::string prefix = either("cublasLt", "hipblasLt"), status = either("CUBLAS_STATUS_", "HIPBLAS_STATUS_");
    const int no_memory = is_cuda() ? 3 : 2, unsupported = is_cuda() ? 15 : 7, failed = is_cuda() ? 13 : 5;
    blas.failures["Create"] = no_memory;
    EXPECT_REFUSED(multiply(product), KV8_OUT_OF_MEMORY, prefix + "Create: " + status + "ALLOC_FAILED");
    for (const char* function : {"MatmulDescCreate", "MatmulDescSetAttribute", "MatrixLayoutCreate",
                                 "MatmulPreferenceCreate", "MatmulPreferenceSetAttribute", "MatmulAlgoGetHeuristic"}) {
        blas.failures[function] = unsupported;
        EXPECT_REFUSED(multiply(product), KV8_UNSUPPORTED,
                       prefix + function + ": " + status + "NOT_SUPPORTED (" + std::to_string(unsupported) + ")");
    }
    blas.failures["Matmul"] = failed;
    EXPECT_REFUSED(multiply(product), KV8_DEVICE_ERROR, prefix + "Matmul: " + status + "EXECUTION_FAILED");
    blas.failures["Matmul"] = 99;
    EXPECT_REFUSED(multiply(product), KV8_DEVICE_ERROR, prefix + "Matmul: unknown status (99)");
    stub.failures.push_back({either("cuMemAlloc_v2", "hipMalloc"), 1, 2});
    EXPECT_EQ(multiply(product), KV8_OK) << kv8_last_error();  // it has its memory
    product.expect_right();
    stub.failures.clear();
}

TEST_P(GpuMatmul, ComesBackFromADeviceWithoutMemory) {
    Product product(KV8_F32, KV8_F32, {1, 8, 8}, true, random);
    stub.failures.push_back({either("cuMemAlloc_v2", "hipMalloc"), 1, 2});
    EXPECT_REFUSED(multiply(product), KV8_OUT_OF_MEMORY, "out of memory");
    EXPECT_EQ(multiply(product), KV8_OK) << kv8_last_error();
    product.expect_right();
}

}  // namespace
}  // namespace kv8_test
