"""GGUF files: `container` reads and checks the header, `blocks` is the table of dequantise functions, `file` shows the
whole as a checkpoint like any other, `names` knows what llama.cpp calls the tensors of a text encoder."""
