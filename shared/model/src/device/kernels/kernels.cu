// One pass over memory where tensor operations one after another would make many.
//
// Each kernel lists its operands; after them all have the parameters of TAIL. `count` numbers are
// written unless that is said otherwise. Rust's side, and the plain paths these are held against:
// mod.rs.

#include <cuda_bf16.h>

#define TAIL                                                                                   \
    float *out, unsigned long long count, unsigned int width, unsigned int groups, float s0, \
        float s1, float s2, float s3, float s4, float s5

#define EACH(i)                                                                             \
    for (unsigned long long i = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x; \
         i < count; i += gridDim.x * (unsigned long long)blockDim.x)

#define WARPS 8
#define EVERY_LANE 0xffffffffu

// --- AdamW ---------------------------------------------------------------------------------------

// A block for each row of `width` numbers: the sum of their squares, which is all that is written.
extern "C" __global__ void __launch_bounds__(256) sum_of_squares(const float *x, TAIL);

// One step. Parameters, both means, gradient [layers, groups, width]; what the gradient of each group
// is scaled by, [groups]. s0 = what decay leaves, s1 = step size, s2 = factor of the root,
// s3 = epsilon, s4 and s5 = what stays of each mean. out = parameters, first, second mean.
extern "C" __global__ void adamw(const float *parameters, const float *first, const float *second,
                                 const float *gradient, const float *scales, TAIL) {
    EACH(i) {
        float g = gradient[i] * scales[(i / width) % groups];
        float m = first[i] * s4 + g * (1.f - s4), v = second[i] * s5 + g * g * (1.f - s5);
        out[i] = parameters[i] * s0 - m * s1 / (sqrtf(v) * s2 + s3);
        out[count + i] = m;
        out[2 * count + i] = v;
    }
}

// --- Layers --------------------------------------------------------------------------------------

// Gradients of y = silu(gate) * up. out = dgate, then dup.
extern "C" __global__ void swiglu_backward(const float *dy, const float *gate, const float *up, TAIL) {
    EACH(i) {
        float sigmoid = 1.f / (1.f + expf(-gate[i])), silu = gate[i] * sigmoid;
        out[i] = dy[i] * up[i] * (sigmoid + silu - silu * sigmoid);
        out[count + i] = dy[i] * silu;
    }
}

// y = narrow + more; with s0 != 0 also + bias, [width], on each row.
extern "C" __global__ void widen_add(const __nv_bfloat16 *narrow, const float *more,
                                     const float *bias, TAIL) {
    EACH(i) {
        float sum = __bfloat162float(narrow[i]) + more[i];
        out[i] = s0 != 0.f ? sum + bias[i % width] : sum;
    }
}

static __device__ float warp_sum(float value) {
    for (int by = 16; by > 0; by /= 2) value += __shfl_xor_sync(EVERY_LANE, value, by);
    return value;
}

static __device__ float warp_max(float value) {
    for (int by = 16; by > 0; by /= 2) value = fmaxf(value, __shfl_xor_sync(EVERY_LANE, value, by));
    return value;
}

// The sum, or the largest, of `value` over the threads of a block of WARPS warps.
static __device__ float block_sum(float value, float *shared) {
    value = warp_sum(value);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
    __syncthreads();
    float sum = 0.f;
    for (int warp = 0; warp < WARPS; warp++) sum += shared[warp];
    __syncthreads();
    return sum;
}

static __device__ float block_max(float value, float *shared) {
    value = warp_max(value);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
    __syncthreads();
    float most = shared[0];
    for (int warp = 1; warp < WARPS; warp++) most = fmaxf(most, shared[warp]);
    __syncthreads();
    return most;
}

extern "C" __global__ void __launch_bounds__(256) sum_of_squares(const float *x, TAIL) {
    __shared__ float shared[WARPS];
    const float *row = x + blockIdx.x * (unsigned long long)width;
    float sum = 0.f;
    for (unsigned int i = threadIdx.x; i < width; i += blockDim.x) sum += row[i] * row[i];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

// Gradient of RMSNorm's input; gain [width]. A block for each row; s0 = epsilon.
extern "C" __global__ void __launch_bounds__(256)
    rms_norm_backward(const float *dy, const float *x, const float *gain, TAIL) {
    __shared__ float shared[WARPS];
    const unsigned long long row = blockIdx.x * (unsigned long long)width;
    float squares = 0.f, along = 0.f;
    for (unsigned int i = threadIdx.x; i < width; i += blockDim.x) {
        squares += x[row + i] * x[row + i];
        along += dy[row + i] * gain[i] * x[row + i];
    }
    squares = block_sum(squares, shared);
    along = block_sum(along, shared);
    float inverse = 1.f / sqrtf(squares / width + s0);
    float pull = along * inverse * inverse * inverse / width;
    for (unsigned int i = threadIdx.x; i < width; i += blockDim.x) {
        out[row + i] = dy[row + i] * gain[i] * inverse - x[row + i] * pull;
    }
}

// --- Cross-entropy -------------------------------------------------------------------------------

// A block for each row of `width` logits: the logarithm of the sum of their exponentials, which is all
// that is written.
extern "C" __global__ void __launch_bounds__(256) log_sum(const __nv_bfloat16 *logits, TAIL) {
    __shared__ float shared[WARPS];
    const __nv_bfloat16 *row = logits + blockIdx.x * (unsigned long long)width;
    // Each thread keeps its own largest: one pass over memory.
    float most = -INFINITY, sum = 0.f;
    for (unsigned int i = threadIdx.x; i < width; i += blockDim.x) {
        float x = __bfloat162float(row[i]);
        if (x > most) {
            sum *= expf(most - x);
            most = x;
        }
        sum += expf(x - most);
    }
    float all = block_max(most, shared);
    // A thread without numbers has none to add. Where the largest is no number, neither is the sum.
    sum = block_sum(most == -INFINITY && sum == 0.f ? 0.f : sum * expf(most - all), shared);
    if (threadIdx.x == 0) out[blockIdx.x] = all + logf(sum);
}

// Gradient of the weighted losses, bf16. A block for each row; log_sums, targets, weights [rows].
extern "C" __global__ void __launch_bounds__(256)
    cross_entropy_backward(const __nv_bfloat16 *logits, const float *log_sums,
                           const unsigned int *targets, const float *weights, TAIL) {
    const unsigned long long row = blockIdx.x * (unsigned long long)width;
    const float log_sum = log_sums[blockIdx.x], weight = weights[blockIdx.x];
    const unsigned int target = targets[blockIdx.x];
    __nv_bfloat16 *narrow = (__nv_bfloat16 *)out;
    for (unsigned int i = threadIdx.x; i < width; i += blockDim.x) {
        // p - 1 before any rounding, so that a small gradient survives bf16.
        float p = expf(__bfloat162float(logits[row + i]) - log_sum);
        narrow[row + i] = __float2bfloat16((i == target ? p - 1.f : p) * weight);
    }
}

// --- Attention -----------------------------------------------------------------------------------
//
// Rows of whole sequences: q [rows, groups * width], k and v [rows, key-value heads * width], where
// `groups` is the number of query heads and `width` the size of a head. places [rows, 2]: the first row
// of the row's sequence and the one after its last, both 0 for a row without token. s0 = key-value
// heads; s1 = the window, 0 for none. A warp for each row and head; a lane holds PARTS numbers of it.

struct Place {
    unsigned int row, head, lane, first, end, window;
};

static __device__ Place place(const unsigned int *places, unsigned int heads, float window) {
    unsigned long long warp = blockIdx.x * (unsigned long long)WARPS + threadIdx.x / 32;
    unsigned int row = warp / heads;
    Place at = {row, (unsigned int)(warp % heads), threadIdx.x % 32, 0, 0, (unsigned int)window};
    at.first = places[2 * row];
    at.end = places[2 * row + 1];
    return at;
}

// The first row that row `row` sees.
static __device__ unsigned int sees_from(const Place &at) {
    unsigned int before = at.row - at.first;
    return at.window != 0 && before >= at.window ? at.row - at.window + 1 : at.first;
}

template <int PARTS>
static __device__ void load(float (&part)[PARTS], const float *head, unsigned int width, unsigned int lane) {
#pragma unroll
    for (int t = 0; t < PARTS; t++) {
        unsigned int d = lane + 32 * t;
        part[t] = d < width ? head[d] : 0.f;
    }
}

template <int PARTS>
static __device__ void store(float *head, const float (&part)[PARTS], unsigned int width, unsigned int lane) {
#pragma unroll
    for (int t = 0; t < PARTS; t++) {
        unsigned int d = lane + 32 * t;
        if (d < width) head[d] = part[t];
    }
}

template <int PARTS> static __device__ float dot(const float (&a)[PARTS], const float (&b)[PARTS]) {
    float sum = 0.f;
#pragma unroll
    for (int t = 0; t < PARTS; t++) sum += a[t] * b[t];
    return warp_sum(sum);
}

template <int PARTS>
static __device__ void forward(const float *q, const float *k, const float *v, const unsigned int *places,
                               TAIL) {
    unsigned int shared_heads = (unsigned int)s0;
    if ((blockIdx.x * (unsigned long long)WARPS + threadIdx.x / 32) * width >= count) return;
    Place at = place(places, groups, s1);
    unsigned long long own = ((unsigned long long)at.row * groups + at.head) * width;
    unsigned int shared_head = at.head / (groups / shared_heads);
    float query[PARTS], other[PARTS], sum[PARTS] = {}, most = -INFINITY, total = 0.f;
    load(query, q + own, width, at.lane);
    for (unsigned int row = sees_from(at); at.end != 0 && row <= at.row; row++) {
        unsigned long long from = ((unsigned long long)row * shared_heads + shared_head) * width;
        load(other, k + from, width, at.lane);
        float score = dot(query, other), larger = fmaxf(most, score);
        float fade = expf(most - larger), share = expf(score - larger);
        load(other, v + from, width, at.lane);
#pragma unroll
        for (int t = 0; t < PARTS; t++) sum[t] = sum[t] * fade + share * other[t];
        total = total * fade + share;
        most = larger;
    }
#pragma unroll
    for (int t = 0; t < PARTS; t++) sum[t] = at.end != 0 ? sum[t] / total : 0.f;
    store(out + own, sum, width, at.lane);
}

// Gradient of q. Behind its `count` numbers, for each row and head: the logarithm of the sum of its
// exponentials, then the mean of the gradient of its probabilities.
template <int PARTS>
static __device__ void backward_queries(const float *dy, const float *q, const float *k, const float *v,
                                        const unsigned int *places, TAIL) {
    unsigned int shared_heads = (unsigned int)s0;
    if ((blockIdx.x * (unsigned long long)WARPS + threadIdx.x / 32) * width >= count) return;
    Place at = place(places, groups, s1);
    unsigned long long head = (unsigned long long)at.row * groups + at.head, own = head * width;
    unsigned int shared_head = at.head / (groups / shared_heads);
    float query[PARTS], given[PARTS], key[PARTS], value[PARTS], sum[PARTS] = {};
    float most = -INFINITY, total = 0.f, mean = 0.f;
    load(query, q + own, width, at.lane);
    load(given, dy + own, width, at.lane);
    for (unsigned int row = sees_from(at); at.end != 0 && row <= at.row; row++) {
        unsigned long long from = ((unsigned long long)row * shared_heads + shared_head) * width;
        load(key, k + from, width, at.lane);
        load(value, v + from, width, at.lane);
        float score = dot(query, key), larger = fmaxf(most, score);
        float fade = expf(most - larger), share = expf(score - larger);
        mean = mean * fade + share * dot(given, value);
        total = total * fade + share;
        most = larger;
    }
    float log_sum = most + logf(total);
    mean /= total;
    for (unsigned int row = sees_from(at); at.end != 0 && row <= at.row; row++) {
        unsigned long long from = ((unsigned long long)row * shared_heads + shared_head) * width;
        load(key, k + from, width, at.lane);
        load(value, v + from, width, at.lane);
        float slope = expf(dot(query, key) - log_sum) * (dot(given, value) - mean);
#pragma unroll
        for (int t = 0; t < PARTS; t++) sum[t] += slope * key[t];
    }
    store(out + own, sum, width, at.lane);
    if (at.lane == 0) {
        out[count + 2 * head] = at.end != 0 ? log_sum : 0.f;
        out[count + 2 * head + 1] = at.end != 0 ? mean : 0.f;
    }
}

// Gradients of k and of v, one after the other. Here a warp has a row and a key-value head: `groups` is
// their number, s0 that of query heads; `of_queries` is what backward_queries wrote.
template <int PARTS>
static __device__ void backward_keys(const float *dy, const float *q, const float *k, const float *v,
                                     const float *of_queries, const unsigned int *places, TAIL) {
    unsigned int heads = (unsigned int)s0, each = heads / groups;
    if ((blockIdx.x * (unsigned long long)WARPS + threadIdx.x / 32) * width >= count) return;
    Place at = place(places, groups, s1);
    unsigned long long own = ((unsigned long long)at.row * groups + at.head) * width;
    const float *sums = of_queries + count / groups * heads;
    float key[PARTS], value[PARTS], query[PARTS], given[PARTS], dkey[PARTS] = {}, dvalue[PARTS] = {};
    load(key, k + own, width, at.lane);
    load(value, v + own, width, at.lane);
    unsigned int end = at.end;
    if (end != 0 && at.window != 0 && end - at.row > at.window) end = at.row + at.window;
    for (unsigned int row = at.row; row < end; row++) {
        for (unsigned int head = at.head * each; head < (at.head + 1) * each; head++) {
            unsigned long long from = (unsigned long long)row * heads + head;
            load(query, q + from * width, width, at.lane);
            load(given, dy + from * width, width, at.lane);
            float p = expf(dot(query, key) - sums[2 * from]);
            float slope = p * (dot(given, value) - sums[2 * from + 1]);
#pragma unroll
            for (int t = 0; t < PARTS; t++) {
                dkey[t] += slope * query[t];
                dvalue[t] += p * given[t];
            }
        }
    }
    store(out + own, dkey, width, at.lane);
    store(out + count + own, dvalue, width, at.lane);
}

#define TAIL_GIVEN out, count, width, groups, s0, s1, s2, s3, s4, s5
#define ATTENTION(PARTS)                                                                           \
    extern "C" __global__ void __launch_bounds__(256) attention_##PARTS(                         \
        const float *q, const float *k, const float *v, const unsigned int *places, TAIL) {      \
        forward<PARTS>(q, k, v, places, TAIL_GIVEN);                                               \
    }                                                                                              \
    extern "C" __global__ void __launch_bounds__(256) attention_queries_##PARTS(                 \
        const float *dy, const float *q, const float *k, const float *v,                         \
        const unsigned int *places, TAIL) {                                                        \
        backward_queries<PARTS>(dy, q, k, v, places, TAIL_GIVEN);                                  \
    }                                                                                              \
    extern "C" __global__ void __launch_bounds__(256) attention_keys_##PARTS(                    \
        const float *dy, const float *q, const float *k, const float *v, const float *of_queries, \
        const unsigned int *places, TAIL) {                                                        \
        backward_keys<PARTS>(dy, q, k, v, of_queries, places, TAIL_GIVEN);                         \
    }

ATTENTION(1)
ATTENTION(2)
ATTENTION(4)
ATTENTION(8)
